"""Runs the fuzzers: `python tests/fuzz/run.py --seconds 600` (needs the extra `fuzz`).

One process per target, one after the other. What crashes a target, takes longer than five seconds
or needs more than a gigabyte is written to tests/fuzz/corpus/<target>/, where pytest replays it.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CORPUS = HERE / "corpus"
LONGEST_SECONDS = 5
JSON_TARGETS = {"annotations", "predictions", "manifest", "config"}


def fuzz(name: str, seconds: int, found: Path) -> None:
    """In a process of its own: atheris never comes back."""
    import atheris  # noqa: PLC0415 - an extra, and only for this

    with atheris.instrument_imports(include=["cpn"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415
    from tests.fuzz.mutations import mutate_json  # noqa: PLC0415

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        if seed % 4 == 0:
            return bytes(atheris.Mutate(data, max_size))
        return mutate_json(data, max_size, seed)

    flags = [
        *(f"-max_total_time={seconds}", f"-timeout={LONGEST_SECONDS}", "-rss_limit_mb=1024"),
        *("-max_len=8192", "-verbosity=0", "-print_final_stats=1"),
        f"-artifact_prefix={found}/crash-",
    ]
    options = {"custom_mutator": mutate} if name in JSON_TARGETS else {}
    folders = [str(found / "seen"), str(CORPUS / name)]
    (found / "seen").mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], *flags, *folders], TARGETS[name], **options)
    atheris.Fuzz()


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def child(*options: str) -> int:
    """The exit code of this program with other options."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *options]
    return subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode


def replay(name: str, path: Path) -> None:
    """Reads one file; exit code 1 if that needs more than five seconds of a processor."""
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415

    began = time.process_time()
    TARGETS[name](path.read_bytes())
    raise SystemExit(time.process_time() - began > LONGEST_SECONDS)


def fuzz_for(name: str, seconds: int, found: Path) -> bool:
    """Fuzzes a target so long, and keeps what crashes it; whether that was all right.

    atheris measures by the clock on the wall: what was slow because the machine was busy is tried
    again, and then the fuzzing goes on.
    """
    end = time.monotonic() + seconds
    while (left := round(end - time.monotonic())) > 0:
        code = child(f"--child={name}", f"--seconds={left}", f"--found={found}")
        if code == 0:
            return True
        artifacts = sorted((found / name).glob("crash-*"))
        real = [
            path
            for path in artifacts
            if "oom" in path.name or child(f"--child={name}", f"--replay={path}")
        ]
        for path in real:
            kept = CORPUS / name / path.name.removeprefix("crash-")
            path.replace(kept)
            tell(f"{name}: {kept}")
        if real or not artifacts:
            return False
        for path in artifacts:
            path.unlink()
            tell(f"{name}: {path.name} is harmless when it is read again; going on")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--targets", nargs="*", help="default: all")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--replay", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--found", type=Path, default=ROOT / "build" / "fuzz")
    options = parser.parse_args()
    if options.replay:
        replay(options.child, options.replay)
    if options.child:
        fuzz(options.child, options.seconds, options.found / options.child)
        return
    names = options.targets or sorted(path.name for path in CORPUS.iterdir())
    failed = []
    for name in names:
        tell(f"{name}: {options.seconds} s")
        failed += [] if fuzz_for(name, options.seconds, options.found) else [name]
    tell(f"failed: {', '.join(failed) or 'none'}")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()

"""The plan of the house: who may import whom, what nobody may call, and how long things get."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Imports point down only: from a rung to the ones below it, or inside one package.
LADDER = (
    ("scripts", "cpn.__main__"),
    ("cpn.command_line",),
    ("cpn.tasks",),
    ("cpn.ablation", "cpn.demo", "cpn.export"),
    ("cpn.prediction", "cpn.convert", "cpn.report"),
    ("cpn.build_detector",),
    ("cpn.build",),
    ("cpn.distillation",),
    ("cpn.data", "cpn.detection", "cpn.postprocess"),
    ("cpn.losses", "cpn.models", "cpn.engine", "cpn.evaluation", "cpn.benchmark", "cpn.video"),
    ("cpn.heatmaps",),
    ("cpn.geometry",),
    ("cpn.skeleton", "cpn.config", "cpn.coco", "cpn.weights"),
    ("cpn.process", "cpn.files"),
    ("cpn.errors", "cpn.version"),
)
RUNG = {name: height for height, rung in enumerate(reversed(LADDER)) for name in rung}

# What stands alone, and all that it may use beside the standard library.
CLOSED = {
    "cpn.errors": set[str](),
    "cpn.version": set[str](),
    "cpn.files": {"cpn.errors", "fsspec", "filelock"},
    "cpn.process": {"cpn.errors"},
    "cpn.weights": {"cpn.errors", "torch"},
    "cpn.config": {"cpn.errors", "pydantic", "yaml"},
    "cpn.coco": {"cpn.errors", "msgspec"},
    "cpn.benchmark": {"cpn.files", "psutil", "rich", "torch"},
    "cpn.video": {"cpn.errors", "cpn.files", "av", "cv2", "edgefirst", "numpy"},
    "cpn.models": {"cpn.errors", "cpn.weights", "torch", "torchvision", "timm", "safetensors"},
    "cpn.engine": {
        *("cpn.errors", "cpn.files", "cpn.process", "cpn.weights", "cpn.version"),
        *("torch", "safetensors", "msgspec", "numpy", "cv2", "rich", "tensorboard"),
    },
}
# Only the demo's page is served, on this machine alone: nothing else may know a server's library,
# and the one socket that is opened is this one.
SERVERS = {
    "starlette",
    "uvicorn",
    "fastapi",
    "flask",
    "aiohttp",
    "tornado",
    "websockets",
    "asyncio",
}
SERVER_HOME, SERVER_LIBRARIES = "cpn.demo", {"starlette", "uvicorn", "asyncio"}
LOCAL_SOCKETS = {"cpn.demo.serving": "socket.create_server(('127.0.0.1', port))"}
HYDRA_HOMES = ("scripts", "cpn.command_line")
UNSAFE_MODULES = {
    *("cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle", "runpy", "imp", "pty"),
    *("requests", "httpx", "aiohttp", "wget", "socketserver", "http"),  # nothing is fetched, served
}
UNSAFE_BUILTINS = {"eval", "exec", "compile", "__import__", "globals", "vars", "breakpoint"}
# What unpickles, runs text or a name, unpacks, fetches or listens; by its last names.
UNSAFE_CALLS = {
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "instantiate"),
    *("hub.load", "load_state_dict_from_url", "download_url", "jit.load", "package_importer"),
    *("add_safe_globals", "safe_globals", "run_path", "run_module"),
    *("os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "pandas.read_pickle"),
    *("extractall", "unpack_archive", "urlopen", "urlretrieve", "create_server", "socket.socket"),
}
# They take a name: only one that stands in the code, or one of a table that does.
NAMING_CALLS = {"import_module", "find_spec", "locate", "CDLL", "load_library"}
NAMED_BY_A_TABLE = {"import_module(_HOMES[name])"}
# What fetches for us must compare the hash.
HASHED_CALLS = {"get_state_dict"}
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_SCRIPT_LINES = 30
# To be copied into programs that have neither PyTorch nor this project: it is not a command.
STANDS_ALONE = ROOT / "scripts" / "onnx_inference.py"


def _module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _trees() -> dict[str, ast.Module]:
    files = [*(ROOT / "cpn").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
    return {_module_of(file): ast.parse(file.read_text()) for file in sorted(files)}


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write absolute imports"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _home(module: str) -> str | None:
    """Name the rung's entry that a module belongs to, the most exact one."""
    homes = [name for name in RUNG if f"{module}.".startswith(f"{name}.")]
    return max(homes, key=len, default=None)


def _wrong_imports(module: str, tree: ast.Module) -> list[str]:
    home = _home(module)
    if home is None:
        return [f"{module} is on no rung"]
    wrong = []
    for name in _imports(tree):
        other = _home(name)
        if other in {None, home} or RUNG[str(other)] < RUNG[home]:
            continue
        wrong.append(f"{module} (rung {RUNG[home]}) imports {name} (rung {RUNG[str(other)]})")
    return wrong


def _foreign_imports(package: str, module: str, tree: ast.Module) -> list[str]:
    """Find what a module of a closed package imports beside what the package may use."""
    used = {name: _home(name) or name.split(".")[0] for name in _imports(tree)}
    allowed = CLOSED[package] | {package} | set(sys.stdlib_module_names)
    return [f"{module} imports {name}" for name, owner in used.items() if owner not in allowed]


def _unpickling(tree: ast.Module) -> list[str]:
    """Find every use of pickle but the name of its error, which weights_only=True raises."""
    names = {name for name in _imports(tree) if name.startswith("pickle.")}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="pickle"), attr=name):
                names.add(f"pickle.{name}")
    return sorted(names - {"pickle.UnpicklingError"})


def _unsafe(tree: ast.Module, allowed: str = "") -> list[str]:
    found = [name for name in _imports(tree) if name.split(".")[0] in UNSAFE_MODULES]
    found += _unpickling(tree)
    found += [name for name in _imports(tree) if _ends_with_one_of(name, UNSAFE_CALLS)]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    unsafe = [call for call in calls if _is_unsafe(call) and ast.unparse(call) != allowed]
    return [*found, *(f"line {call.lineno}: {ast.unparse(call)}" for call in unsafe)]


def _is_unsafe(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    given: dict[str | None, str] = {
        keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords
    }
    if None in given:  # **options could hold anything
        given |= {"weights_only": "?", "check_hash": "?"}
    return (
        name.removeprefix("builtins.") in UNSAFE_BUILTINS
        or _ends_with_one_of(name, UNSAFE_CALLS)
        or (name.endswith("torch.load") and given.get("weights_only") != "True")
        or (_ends_with_one_of(name, HASHED_CALLS) and given.get("check_hash") != "True")
        or given.get("allow_pickle", "False") != "False"
        or given.get("shell", "False") != "False"
        or _resolves_a_name(call, name)
    )


def _resolves_a_name(call: ast.Call, name: str) -> bool:
    """Whether a module is found by a name that does not stand in the code."""
    last = name.rpartition(".")[2]
    if last not in NAMING_CALLS or ast.unparse(call) in NAMED_BY_A_TABLE:
        return False
    return not (call.args and isinstance(call.args[0], ast.Constant))


def _ends_with_one_of(name: str, endings: set[str]) -> bool:
    return any(f".{name}".endswith(f".{ending}") for ending in endings)


def _too_long(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                lines -= (first.end_lineno or 0) - first.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                found.append(f"{node.name}: {lines} lines")
    return found


def test_the_test_sees_the_code() -> None:
    assert {"cpn.command_line.load", "cpn.geometry.crop", "scripts.train"} <= set(_trees())


def test_imports_point_down() -> None:
    inside = {module: tree for module, tree in _trees().items() if module != "cpn"}
    assert [wrong for item in inside.items() for wrong in _wrong_imports(*item)] == []


@pytest.mark.parametrize("package", CLOSED)
def test_closed_packages_stand_alone(package: str) -> None:
    own = {module: tree for module, tree in _trees().items() if _home(module) == package}
    assert own, f"there is no {package}"
    assert [wrong for item in own.items() for wrong in _foreign_imports(package, *item)] == []


def test_only_scripts_and_load_know_hydra() -> None:
    for module, tree in _trees().items():
        known = {name.split(".")[0] for name in _imports(tree)} & {"hydra", "omegaconf"}
        assert not known or module.startswith(HYDRA_HOMES), f"{module} imports {known}"


def test_nothing_unpickles_or_runs_text() -> None:
    found = {name: _unsafe(tree, LOCAL_SOCKETS.get(name, "")) for name, tree in _trees().items()}
    assert {name: what for name, what in found.items() if what} == {}


def _serving(module: str, tree: ast.Module) -> list[str]:
    """Find what could answer other programs, but for the demo's page on 127.0.0.1."""
    allowed = SERVER_LIBRARIES if _is_of_the_demo(module) else set[str]()
    found = [name for name in _imports(tree) if name.split(".")[0] in SERVERS - allowed]
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name, keywords = ast.unparse(call.func), {keyword.arg for keyword in call.keywords}
        # uvicorn opens no socket of its own where it is given one and no address.
        told = name.endswith("Config") and keywords & {None, "host", "port", "uds", "fd"}
        if allowed and (told or (name.endswith(".run") and "sockets" not in keywords)):
            found.append(f"line {call.lineno}: {ast.unparse(call)}")
    return found


def test_only_the_demo_serves_and_on_this_machine_alone() -> None:
    assert {name: found for name, tree in _trees().items() if (found := _serving(name, tree))} == {}
    opened = [
        (name, ast.unparse(call))
        for name, tree in _trees().items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and _ends_with_one_of(ast.unparse(call.func), {"create_server", "socket.socket"})
    ]
    assert opened == list(LOCAL_SOCKETS.items())
    users = {
        name for name, tree in _trees().items() for used in _imports(tree) if _is_of_the_demo(used)
    }
    assert {name for name in users if not _is_of_the_demo(name)} == {"cpn.tasks.demo"}


def _is_of_the_demo(module: str) -> bool:
    return f"{module}.".startswith(f"{SERVER_HOME}.")


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("cpn.tasks.train", "import uvicorn"),
        ("cpn.tasks.demo", "from starlette.applications import Starlette"),
        ("cpn.prediction.predictor", "import asyncio"),
        ("cpn.demonstration", "import uvicorn"),
        ("cpn.demo.serving", "import flask"),
        ("cpn.demo.serving", "uvicorn.run(app)"),
        ("cpn.demo.serving", "uvicorn.Config(app, host='0.0.0.0')"),
        ("cpn.demo.serving", "uvicorn.Config(app, **options)"),
        ("cpn.demo.serving", "uvicorn.Server(config).run()"),
        ("cpn.demo.serving", "server(analyst, facts).run()"),
    ],
)
def test_a_server_is_found(module: str, code: str) -> None:
    assert _serving(module, ast.parse(code))


def test_functions_are_short() -> None:
    assert {name: found for name, tree in _trees().items() if (found := _too_long(tree))} == {}


def test_files_are_short() -> None:
    limits = {"cpn": MAX_FILE_LINES, "scripts": MAX_SCRIPT_LINES, "tests": MAX_FILE_LINES + 100}
    for folder, limit in limits.items():
        for file in (ROOT / folder).rglob("*.py"):
            lines = len(file.read_text().splitlines())
            most = 70 if file == STANDS_ALONE else limit
            assert lines <= most, f"{file.relative_to(ROOT)} has {lines} lines"


def test_every_module_says_what_it_is() -> None:
    silent = [name for name, x in _trees().items() if x.body and ast.get_docstring(x) is None]
    assert silent == []


def test_tests_mirror_the_code() -> None:
    """A test file under tests/ stands where the module does that it tests, or in a known place."""
    for file in (ROOT / "tests").rglob("test_*.py"):
        folder = ROOT / "cpn" / file.parent.relative_to(ROOT / "tests")
        assert folder.is_dir() or file.parent.name in {"scripts", "security", "fuzz"}, file


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("cpn.geometry.boxes", "import cpn.heatmaps.encode"),
        ("cpn.geometry.boxes", "from cpn import data"),
        ("cpn.losses", "from cpn.models.cpn import CpnOutput"),
        ("cpn.skeleton", "from cpn.config.schema import TrainConfig"),
        ("cpn.tasks.train", "from cpn.command_line.load import script"),
        ("cpn.build", "def f():\n    from cpn.tasks.train import train"),
        ("cpn.coco.records", "from cpn.data.persons import PersonInstance"),
        ("cpn.coco.records", "from cpn.skeleton import COCO_17"),
        ("cpn.evaluation.results", "from cpn.data.annotations import read_detections"),
        ("cpn.surprise", ""),
    ],
)
def test_a_wrong_import_is_found(module: str, code: str) -> None:
    assert _wrong_imports(module, ast.parse(code))


@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("cpn.errors", "from cpn.files.atomic import write_json"),
        ("cpn.coco", "import numpy"),
        ("cpn.coco", "from cpn.files.atomic import write_json"),
        ("cpn.models", "from cpn.files.atomic import write_json"),
        ("cpn.engine", "from cpn.coco.strict_json import read_json"),
        ("cpn.engine", "from cpn.models.cpn import CpnOutput"),
        ("cpn.engine", "import cpn"),
    ],
)
def test_a_foreign_import_is_found(package: str, code: str) -> None:
    assert _foreign_imports(package, f"{package}.surprise", ast.parse(code))


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("cpn.geometry.crop", "import numpy; from cpn.geometry.boxes import xywh_to_xyxy"),
        ("cpn.losses", "from cpn.heatmaps import encode; from cpn.errors import UserError"),
        (
            "scripts.train",
            "from cpn.command_line.load import script; from cpn.tasks.train import train",
        ),
    ],
)
def test_a_right_import_is_left_alone(module: str, code: str) -> None:
    assert _wrong_imports(module, ast.parse(code)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle; pickle.loads(data)",
        "import dill",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=strict)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader)",
        "eval(text)",
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=flag)",
        "np.load(path, allow_pickle=flag)",
        "yaml.full_load(text)",
        "exec(text)",
        "builtins.eval(text)",
        "__import__(name)",
        "importlib.import_module(name)",
        "import_module(config['module'])",
        "importlib.import_module(f'cpn.{name}')",
        "pydoc.locate(name)",
        "hydra.utils.instantiate(config)",
        "from hydra.utils import instantiate",
        "from os import system; from os import popen as p\nimport os\nos.system(x)",
        "from shutil import unpack_archive",
        "tar.extractall(folder)",
        "tarfile.open(path).extractall(folder, filter='data')",
        "urllib.request.urlopen(address)",
        "from urllib.request import urlretrieve",
        "import requests",
        "import http.server",
        "torch.hub.load(repository, name)",
        "torch.hub.load_state_dict_from_url(address)",
        "torch.jit.load(path)",
        "torch.serialization.add_safe_globals([Config])",
        "with torch.serialization.safe_globals([Config]): torch.load(f, weights_only=True)",
        "torch.load(f, **options)",
        "entry.get_state_dict(progress=False)",
        "globals()[name]()",
        "socket.create_server(('', 80))",
        "socket.create_server(('127.0.0.1', port))",
        "ctypes.CDLL(path)",
    ],
)
def test_an_unsafe_call_is_found(code: str) -> None:
    assert _unsafe(ast.parse(code))


def test_a_safe_call_is_left_alone() -> None:
    code = "torch.load(f, weights_only=True); np.load(f, allow_pickle=False); net.eval()\n"
    code += "importlib.import_module('timm'); re.compile('a'); yaml.safe_load(text)\n"
    code += "entry.get_state_dict(check_hash=True); import_module(_HOMES[name])\n"
    code += "import pickle\ntry: f()\nexcept pickle.UnpicklingError: g()"
    assert _unsafe(ast.parse(code)) == []


def test_a_long_function_is_found_and_its_docstring_is_not_counted() -> None:
    body = "    x = 1\n" * MAX_FUNCTION_LINES
    assert _too_long(ast.parse(f"def f():\n{body}")) == [f"f: {MAX_FUNCTION_LINES + 1} lines"]
    text = '    """A.\n' + "\n" * 80 + '    """\n'
    assert _too_long(ast.parse(f"def f():\n{text}    pass")) == []

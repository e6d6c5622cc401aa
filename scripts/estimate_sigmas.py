"""Measure OKS sigmas on people whom two annotators have labelled. Run with --help."""

from cpn.command_line.load import script
from cpn.config.data_schema import EstimateSigmasConfig


@script("estimate_sigmas", EstimateSigmasConfig)
def main(config: EstimateSigmasConfig) -> None:
    """Measure OKS sigmas on people whom two annotators have labelled."""
    from cpn.tasks.estimate_sigmas import estimate_sigmas  # noqa: PLC0415 - --help must not wait

    estimate_sigmas(config)


if __name__ == "__main__":
    main()

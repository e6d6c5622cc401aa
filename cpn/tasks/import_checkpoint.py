"""Makes a model file of ours from a pytorch-cpn checkpoint."""

import logging
from pathlib import Path

from cpn.build import build_model, save_model
from cpn.config.schema import ImportCheckpointConfig, TrainConfig
from cpn.errors import UserError
from cpn.models.pytorch_cpn import convert_pytorch_cpn, read_pytorch_cpn
from cpn.skeleton import COCO_17
from cpn.weights.state_dict import load_weights

logger = logging.getLogger(__name__)


def import_checkpoint(config: ImportCheckpointConfig) -> None:
    """Converts the weights, key by key; the depth of the ResNet is read off them.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is not a pytorch-cpn checkpoint, or has other keypoints than COCO's 17.
    """
    source = Path(config.source)
    converted = convert_pytorch_cpn(read_pytorch_cpn(source))
    if converted.num_keypoints != COCO_17.num_keypoints:
        raise UserError(
            f"{source}: it predicts {converted.num_keypoints} keypoints; pytorch-cpn's published "
            "checkpoints have COCO's 17"
        )
    settings = config.model_dump(exclude={"source", "out"})
    settings["backbone"] |= {"name": converted.backbone, "weights": "none"}
    training = TrainConfig.model_validate(settings)
    model = build_model(training, num_keypoints=converted.num_keypoints)
    load_weights(model, converted.state_dict, source=source)
    save_model(Path(config.out), model, config=training, skeleton=COCO_17, metrics={})
    logger.info("%s (%s): written to %s", source, converted.backbone, config.out)

"""The peer's side of the benchmarks: U-Net of segmentation_models_pytorch, at its best settings.

Runs in an environment of its own (requirements-bench.txt); bench_train.py, bench_predict.py and
bench_start.py call it. Random weights and inputs: only time and memory are measured.
"""

import argparse

import bench_turns
import segmentation_models_pytorch as smp
import torch


def main():
    """Runs the worker that the arguments name."""
    options = _parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = "cuda" if "cuda" in options.setting else "cpu"
    images = torch.rand(options.batch_size, 3, options.image_size, options.image_size)
    model = smp.Unet(options.encoder, encoder_weights=None).to(device)
    if "channels_last" in options.setting:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    if options.what == "predict":
        step = _predictor(model, images, options.setting, device)
    else:
        step = _trainer(model, images, options.setting, device)
    if options.what == "start":
        step()
        print("stepped", bench_turns.peak_megabytes(), flush=True)
    else:
        for _ in bench_turns.paced(options.steps, _device_memory):
            step()


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=("train", "predict", "start"))
    for name in ("image_size", "batch_size", "threads", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("encoder", "setting"):
        parser.add_argument(f"--{name}", required=True)
    return parser.parse_args()


def _device_memory():
    if not torch.cuda.is_available():
        return {}
    return {"device_megabytes": torch.cuda.max_memory_allocated() / 1e6}


def _trainer(model, images, setting, device):
    masks = (torch.rand(images.shape[0], 1, *images.shape[2:]) > 0.5).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    loss_of = torch.nn.BCEWithLogitsLoss()
    model.train()
    forward = torch.compile(model) if "compile" in setting else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled="bfloat16" in setting):
            logits = forward(images.to(device, non_blocking=True))
        loss = loss_of(logits.float(), masks.to(device, non_blocking=True))
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def _predictor(model, images, setting, device):
    model.eval()
    if "openvino" in setting:
        return _openvino_predictor(model, images, setting)
    forward = torch.compile(model) if "compile" in setting else model

    def step():
        with (
            torch.inference_mode(),
            torch.autocast(device, torch.bfloat16, enabled="bfloat16" in setting),
        ):
            torch.sigmoid(forward(images.to(device)).float()).cpu().numpy()

    return step


def _openvino_predictor(model, images, setting):
    import openvino

    converted = openvino.convert_model(model, example_input=images)
    precision = "bf16" if "bfloat16" in setting else "f32"
    compiled = openvino.Core().compile_model(
        converted,
        "CPU",
        {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()},
    )
    array = images.numpy()
    return lambda: compiled(array)


if __name__ == "__main__":
    main()

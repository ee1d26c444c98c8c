"""Submits a training run to Vertex AI; prints the job unless --submit is given.

    python deployment/submit_vertex_training.py --project-id P --bucket B --script train_text.py
    python deployment/submit_vertex_training.py --project-id P --bucket B --script train_text.py \\
        --epochs 10 --batch-size 32
    python deployment/submit_vertex_training.py --project-id P --bucket B --script train_flow.py \\
        --name dit --machine v5e-8 --submit -- --config=configs/cifar10.py --lr 2e-4

What follows a bare -- are flags of the train script. The run is kept in gs://BUCKET/diffusion/NAME;
a job that is restarted, or submitted again with the same flags, goes on where the last one stopped.
"""

import vertex_job as vertex

SCRIPTS = ("train_text.py", "train_flow.py")


def main():
    parser = vertex.arguments(__doc__, "vertex_ai_config.yaml")
    add = parser.add_argument
    add("--epochs", type=float, help="passes over the data (the script's --max_steps)")
    add("--batch-size", type=int, help="examples a step over all devices (the script's)")
    args, words = vertex.parsed(parser)
    if args.script not in SCRIPTS:
        parser.error(f"no --script {args.script}; there are {', '.join(SCRIPTS)}")
    args.name = args.name or args.script.removesuffix(".py")
    flags = [f"--workdir={vertex.run_folder(args.bucket, args.name)}"]
    if args.epochs is not None:
        flags += [f"--epochs={args.epochs:g}"]
    if args.batch_size is not None:
        flags += [f"--batch_size={args.batch_size}"]
    vertex.show_or_submit(args, vertex.job(args, [args.script, *flags, *words]))


if __name__ == "__main__":
    vertex.run(main)

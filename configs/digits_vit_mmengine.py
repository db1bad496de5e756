"""A small vision transformer on scikit-learn's digits in MMEngine's runner: what examples/digits_mmengine.py trains."""

model = dict(type="examples.digits_mmengine.DigitsViT")

optim_wrapper = dict(
    type="OptimWrapper",
    constructor="optimbuild.OptimBuildConstructor",
    optimizer=dict(type="adamw", lr=2e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(rules=[dict(type="no_decay"), dict(type="layer_decay", ratio=0.8)]),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=2, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=2, end=30, T_max=28, convert_to_iter_based=True),
]

train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=5)
val_cfg = dict()
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type="examples.digits_mmengine.Digits", train=True),
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
)
val_dataloader = dict(
    batch_size=360,
    num_workers=0,
    dataset=dict(type="examples.digits_mmengine.Digits", train=False),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
)
val_evaluator = dict(type="examples.digits_mmengine.Accuracy")

default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", interval=5, max_keep_ckpts=2, save_best="accuracy"),
    logger=dict(type="LoggerHook", interval=23),
)
custom_hooks = [dict(type="optimbuild.PlanHook"), dict(type="optimbuild.LrHook")]
randomness = dict(seed=0)
work_dir = "work_dirs/digits_vit_mmengine"

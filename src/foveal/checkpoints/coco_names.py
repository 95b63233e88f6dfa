"""COCO's list of 90 names; its data sets use 80 of them, and the ids run over all."""

COCO_NAMES: tuple[str, ...] = tuple(
    name.strip()
    for name in """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light,
    fire hydrant, street sign, stop sign, parking meter, bench, bird, cat, dog, horse, sheep,
    cow, elephant, bear, zebra, giraffe, hat, backpack, umbrella, shoe, eye glasses,
    handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,
    baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork,
    knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut,
    cake, chair, couch, potted plant, bed, mirror, dining table, window, desk, toilet,
    door, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster,
    sink, refrigerator, blender, book, clock, vase, scissors, teddy bear, hair drier, toothbrush
    """.split(",")  # noqa: SIM905 - a list of 90 strings would be 90 lines
)

UNUSED = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
"""The ids that COCO's data sets have no objects of."""

COCO_DETECTION_NAMES: tuple[str, ...] = tuple(
    name for number, name in enumerate(COCO_NAMES, 1) if number not in UNUSED
)
"""COCO's 80 names without those, in the order of their ids: the labels of most systems."""

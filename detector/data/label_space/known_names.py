"""Names that public data sets have for the same thing: those of COCO's 80 classes and of some others, as COCO, Pascal VOC,
Objects365 and Open Images write them, and words that people use."""

from __future__ import annotations

_TABLE = """
airplane: aeroplane, plane
baseball glove: baseball mitt
bathtub: bath tub
bicycle: bike
bowl: bowl/basin
cabinet: cabinetry, cabinet/shelf
cell phone: mobile phone, cellular telephone, smartphone
coffee machine: coffeemaker, coffee maker
couch: sofa
cow: cattle
cutting board: cutting/chopping board, chopping board
dining table: kitchen & dining room table, kitchen and dining room table
donut: doughnut
egg: egg (food)
faucet: tap
fire hydrant: hydrant
hair drier: hair dryer, blow dryer
hamburger: burger
handbag: handbag/satchel
headphones: head phone
keyboard: computer keyboard
kiwi fruit: kiwi
laptop: laptop computer, notebook computer
microwave: microwave oven
motorcycle: motorbike
mouse: computer mouse
orange: orange/tangerine
picture frame: picture/frame
potted plant: houseplant, house plant
power outlet: power plugs and sockets, wall socket
refrigerator: fridge
remote: remote control, remote controller
ruler: tape measure/ruler
skis: skiboard
speaker: loudspeaker
suitcase: luggage
surveillance camera: security camera, cctv camera
table tennis paddle: table tennis racket, ping-pong paddle
tablet: tablet computer
tennis ball: tennis
tennis racket: tennis racquet
tie: necktie
traffic light: traffic signal, stoplight
trash can: trash bin can, waste container, garbage bin, dustbin
truck: lorry
tv: television, tv monitor, monitor/tv, television set
volleyball: volleyball (ball)
washing machine: washing machine/drying machine
"""


def groups() -> list[tuple[str, ...]]:
    """Groups of names, each with its usual name first."""
    rows = (line.partition(": ") for line in _TABLE.strip().splitlines())
    return [(name, *others.split(", ")) for name, _, others in rows]

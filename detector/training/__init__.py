"""Training, from a structure, data and settings to `best.pt`. In the order in which a run goes through it:

    settings/      what can be set, and the presets
    start          a run: new, or taken up from its folder
    assembly       its parts put together: network, loaders, optimiser, schedule, average
    loop           epochs, evaluations, what is written after each
    epoch          what an epoch shows the network: its phase, and the size of every batch
    distillation/  a teacher's features or outputs as further losses
    step/          one optimiser step: gradients that fit into memory, the update, steps that are not finite
    optimizer/     the optimiser, the learning rate's schedule, the moving average of the weights
    validation     evaluation of a run's weights
    run, record/   what a run is and how far it is; what it keeps in its folder
    timing/        how long it will take, and how much of it fits into a given time
    machine/       processes, memory, precision and kernels of the machine that trains

Importing the package imports nothing else; `settings/config`, `settings/presets` and `timing/durations` import no torch.
"""

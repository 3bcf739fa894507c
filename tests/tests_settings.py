"""Settings that several tests share."""

SMALL = {
    "simulated.symbols": 2,
    "simulated.days": 12,
    "validation.train": "6 d",
    "validation.test": "2 d",
    "model.rounds": 20,
    "evaluation.draws": 200,
    "evaluation.window": "1 d",
}

"""A small PyTorch network on the columns of numbers, as functions that a backend calls.

It imports nothing of the project, so that the saved model is served without it.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch


class Net(torch.nn.Module):
    """Two hidden layers behind columns that are scaled by what training saw."""

    def __init__(self, hidden, n_outputs):
        super().__init__()
        self.hidden, self.n_outputs = hidden, n_outputs
        self.columns, self.mean, self.scale = [], None, None
        self.shift, self.unit = 0.0, 1.0
        self.layers = None

    def build(self, n_columns):
        """Make the layers once the number of columns is known."""
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(n_columns, self.hidden),
            torch.nn.ReLU(),
            torch.nn.Linear(self.hidden, self.hidden),
            torch.nn.ReLU(),
            torch.nn.Linear(self.hidden, self.n_outputs),
        )

    def inputs(self, X):
        """Scale the columns; a missing value is an average one."""
        values = (X[self.columns].to_numpy("float64") - self.mean) / self.scale
        return torch.tensor(np.nan_to_num(values), dtype=torch.float32)


def build_model(config, problem_type):
    """Make a network with one output, or one for each class."""
    torch.manual_seed(config["random_state"])
    torch.set_num_threads(config["threads"])
    classes = config["n_classes"] if problem_type == "classification" else 1
    return Net(config.get("hidden", 32), classes)


def train_fn(model, X, y, config):
    """Fit by Adam until the epochs or the time are over."""
    numbers = X.select_dtypes("number")
    model.columns = list(numbers.columns)
    model.mean = numbers.mean().fillna(0).to_numpy()
    model.scale = numbers.std().fillna(0).replace(0, 1).to_numpy()
    model.build(len(model.columns))
    inputs = model.inputs(X)
    if model.n_outputs == 1:
        model.shift, model.unit = float(y.mean()), float(y.std()) or 1.0
        target = torch.tensor((y.to_numpy() - model.shift) / model.unit, dtype=torch.float32)
        loss_of = torch.nn.MSELoss()
    else:
        target, loss_of = torch.tensor(y.to_numpy()), torch.nn.CrossEntropyLoss()
    steps = torch.optim.Adam(model.parameters(), lr=config.get("learning_rate", 0.01))
    order = torch.Generator().manual_seed(config["random_state"])
    for _ in range(config.get("epochs", 40)):
        for batch in torch.randperm(len(inputs), generator=order).split(128):
            steps.zero_grad()
            answers = model.layers(inputs[batch])
            loss_of(
                answers.squeeze(1) if model.n_outputs == 1 else answers, target[batch]
            ).backward()
            steps.step()
        if config["deadline"] is not None and time.monotonic() >= config["deadline"]:
            break


def predict_fn(model, X):
    """Give probabilities of shape (n, K), or quantities of shape (n,)."""
    with torch.no_grad():
        answers = model.layers(model.inputs(X))
    if model.n_outputs == 1:
        return answers.squeeze(1).numpy() * model.unit + model.shift
    return torch.softmax(answers, dim=1).numpy()


def save_fn(model, path, metadata, config):
    """Write the weights as plain arrays; torch.save would write a pickle."""
    shape = [model.hidden, model.n_outputs, model.columns, model.shift, model.unit]
    with Path(path).open("wb") as file:
        np.savez(
            file,
            shape=np.array(json.dumps(shape)),
            mean=model.mean,
            scale=model.scale,
            **{name: weights.numpy() for name, weights in model.layers.state_dict().items()},
        )


def load_fn(path, config):
    """Read what save_fn wrote."""
    with np.load(path, allow_pickle=False) as saved:
        arrays = dict(saved)
    hidden, n_outputs, columns, shift, unit = json.loads(str(arrays.pop("shape")))
    model = Net(hidden, n_outputs)
    model.columns, model.shift, model.unit = columns, shift, unit
    model.mean, model.scale = arrays.pop("mean"), arrays.pop("scale")
    model.build(len(columns))
    model.layers.load_state_dict({name: torch.tensor(each) for name, each in arrays.items()})
    return model, {}

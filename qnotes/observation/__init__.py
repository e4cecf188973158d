"""The error that is really there: on given inputs, on the worst input found, on most of them."""

from qnotes.observation.domain import random_inputs
from qnotes.observation.measured import accuracy, distances, output_errors, outputs
from qnotes.observation.promises import Tolerance, tolerance
from qnotes.observation.search import Effort, Observation, observe

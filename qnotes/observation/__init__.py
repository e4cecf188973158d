"""Lower bounds: the error that is really there, on given inputs and on the worst input found."""

from qnotes.observation.domain import random_inputs
from qnotes.observation.measured import accuracy, distances, output_errors, outputs
from qnotes.observation.search import Effort, Observation, observe

"""Executions: ways to evaluate the same weights, and the bounds that they rest on."""

from construct.execution.dense import DenseExecutor
from construct.execution.executor import EXECUTORS, Executor, executor
from construct.execution.sparse import SparseExecutor

__all__ = ["EXECUTORS", "DenseExecutor", "Executor", "SparseExecutor", "executor"]

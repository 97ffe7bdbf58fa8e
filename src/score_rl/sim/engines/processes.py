"""Engines whose steps hold Python's lock run their environments in several processes."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import sys
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from score_rl.core.errors import ScoreError


class Workers:
    """Objects, each in a process of its own; the first stays in this one.

    Processes are forked, so that nothing has to be sent but calls and results; where forking is no option (outside
    Linux, in a daemonic process), all objects stay here. They end with this object, or with this process.
    """

    def __init__(self, objects: Sequence[Any]) -> None:
        self._here = list(objects)
        self._pipes: list[Connection] = []
        processes: list[BaseProcess] = []
        if sys.platform != "linux" or multiprocessing.current_process().daemon:
            return
        context = multiprocessing.get_context("fork")
        collecting = gc.isenabled()
        gc.disable()  # until a child has put aside what it inherits, see `_serve`
        try:
            for thing in objects[1:]:
                mine, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(thing, theirs, mine), daemon=True)
                process.start()
                theirs.close()
                self._pipes.append(mine)
                processes.append(process)
        finally:
            if collecting:
                gc.enable()
        del self._here[1:]
        weakref.finalize(self, _end, processes)

    def run(self, method: str, arguments: Sequence[tuple]) -> list[Any]:
        """Call a method of every object with its arguments, at the same time; the results, in order.

        Raises what a call raises, and ScoreError where a process is gone.
        """
        near, far = arguments[: len(self._here)], arguments[len(self._here) :]
        try:
            for pipe, given in zip(self._pipes, far):
                pipe.send((method, given))
            results = [getattr(thing, method)(*given) for thing, given in zip(self._here, near)]
            answers = [pipe.recv() for pipe in self._pipes]
        except (EOFError, OSError) as error:
            raise ScoreError("a process of the physics engine ended (was it out of memory, or killed?)") from error
        for failed, answer in answers:
            if failed:
                raise answer
        return results + [answer for _, answer in answers]


def _serve(thing: Any, pipe: Connection, other_end: Connection) -> None:
    """Answer calls until the other end is gone.

    Garbage of the parent is never collected here: an engine that waits for its threads when it goes would wait for
    ever, since threads are not forked.
    """
    gc.freeze()
    gc.enable()
    other_end.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's
    while True:
        try:
            method, given = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = False, getattr(thing, method)(*given)
        except Exception as error:
            answer = True, error
        pipe.send(answer)


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.kill()  # not terminate: a handler of the parent's is inherited, and may take SIGTERM for a wish
        process.join()

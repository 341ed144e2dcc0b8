"""The endpoint where it does not matter what is asked; tests/rollouts and tests/evaluate ask real servers."""

import asyncio

from auscult.core.endpoint import run_to_end


def test_work_comes_to_its_end_where_a_loop_runs_already():
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    async def notebook() -> int:
        return run_to_end(work())

    assert run_to_end(work()) == run_to_end(notebook()) == 7

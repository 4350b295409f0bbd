"""The portable engine: tiles as batched matrix products in plain torch operations, on any torch device.

One step trains b tiles from one snapshot of the weights. Its inputs are one line of L token slots, each gathered once.
Hidden rows H (skip-gram: the slots themselves; CBOW: one row a center, made of its contexts) meet output rows Z:

    L = Z H'                    scores
    G = Q (label - s(L))        the pull of every example at once
    dH = G' Z    dZ = G H       added to the weights, scaled by alpha and the row caps

* Centers, label 1, tile by tile: T centers against the S slots around them, Q = A, the window's mask.
* Negatives, label 0: each group of hidden rows shares N of them; row r is in q[r] examples, so Q[n, r] = K/N * q[r].
  In skip-gram the rows of a group are spread evenly over the step, far from each other in the text: a negative pushed
  away by 32 neighbors at once, all of one topic, learns that topic (docs/kernels.md, "Negatives").
* Huffman nodes on the centers' paths, label 1 - code: torch_nodes.py.

Source of the objective: Mikolov et al. 2013b (arXiv:1310.4546), eqs. 3 and 4; the tile is derived in docs/kernels.md.

What does not depend on the weights (windows, Q, labels, caps) is prepared for many steps at once, so that a step is
few, large operations: threads wait for Python's lock only between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import embedding, pad

from torchw2v.errors import TrainingDivergedError
from torchw2v.ops.contract import Chunk, Job, Step, Tally, Weights
from torchw2v.ops.frames import Frame, Frames, Part, add_tiles, ahead_of, tiles_of
from torchw2v.ops.losses import logistic_loss
from torchw2v.ops.row_sums import RowSums, RowUpdate, rows_as_they_come
from torchw2v.ops.torch_adagrad import Squares, mean_squares, nodes_with_rates, with_rates
from torchw2v.ops.torch_nodes import Nodes, NodesOf, loss_of, pull_of
from torchw2v.ops.trees import Tree
from torchw2v.tables import busiest_nodes, positive_share

# Elements of the windows prepared at once; everything made from them is a few times that. Paths make more of them.
_MAX_PREPARED = 2**20  # 4 MB
_MAX_PREPARED_PATHS = 2**18


@dataclass
class Words:
    """Centers and negatives of one step, prepared.

    Attributes
    ----------
    rows : int64 tensor [b * T + g * N]
        Centers, tile by tile, then negatives, group by group.
    label : tensor [b, T, S]; CBOW [b * T, 1]
        Q of the centers.
    minus_q : tensor, same shape
        -Q of the centers less what negatives equal to the center are expected to add (`positive_share`).
    weight : tensor [g, 1, G]
        -Q of the negatives.
    ahead : tensor [b * T, 1]
        Part of its own pull that a center's row is ahead when it pulls its contexts (`ahead_of`), times its scale.
    sums : RowSums
        Of the rows, weighted by alpha and the row caps.
    """

    rows: torch.Tensor
    label: torch.Tensor
    minus_q: torch.Tensor
    weight: torch.Tensor
    ahead: torch.Tensor
    sums: RowSums


@dataclass
class Unit:
    """One step, prepared: all it takes besides the weights.

    Attributes
    ----------
    line : int64 tensor [L]
        Words of the token slots.
    sums : RowSums
        Of the slots' rows, weighted by alpha, row caps and locks.
    tiles : tuple (b, T, S)
        Tile j has the slots j * T to j * T + S of the line.
    gather, spread : tensors [b, T, S] or None
        CBOW: how contexts make a hidden row, and how its error goes back to them.
    words : Words or None
    nodes : list of Nodes
    ahead : tensor [L, 1] or None
        Part of the nodes' pull that a slot's row is ahead when it moves them (`ahead_of`), times its scale; None for 0.
    compute_loss : bool
    alpha : float
    lock : tensor [L] or None
        Of the slots' rows. With AdaGrad it and alpha wait for the step: until then the weights and scales of all sums
        are caps alone, and parts ahead lack them (`TorchEngine._at_rates`).
    """

    line: torch.Tensor
    sums: RowSums
    tiles: tuple[int, int, int]
    gather: torch.Tensor | None
    spread: torch.Tensor | None
    words: Words | None
    nodes: list[Nodes]
    ahead: torch.Tensor | None
    compute_loss: bool
    alpha: float = math.nan
    lock: torch.Tensor | None = None


class TorchEngine:
    """Trains chunks by batched torch operations.

    Parameters
    ----------
    job : Job
    device : torch.device
    bags : bool, optional
        Train CBOW's Huffman paths as sparse rows (`PathBags`), not in blocks; chosen by device if not given.
    ordered : bool
        Add rows in the same order every time, on a CUDA device, too (`row_sums.add_rows`).
    """

    name = "torch"
    dense_top = True  # the busiest Huffman nodes meet all hidden rows in one product

    def __init__(
        self, job: Job, device: torch.device | str = "cpu", *, bags: bool | None = None, ordered: bool = False
    ) -> None:
        if job.plan.inputs_ahead == "tile":
            raise ValueError("all tiles of a step read the same snapshot here; make the plan with fused=False")
        self.job = job
        self.device = torch.device(device)
        self.frames = Frames(job, self.device, ordered=ordered)
        self._tree: Tree | None = None
        self._nodes: NodesOf | None = None
        if job.tables.paths is not None:
            assert job.plan.node_pairs is not None
            bags = (self.device.type == "cpu" if bags is None else bags) and not job.objective.skip_gram
            dense_top = self.dense_top and not bags
            self._tree = Tree(job.tables.paths, busiest_nodes(job.plan.node_pairs), dense_top, self.device)
            self._nodes = NodesOf(self.frames, self._tree, bags=bags)
        if job.tables.cumulative is not None:
            share = positive_share(job.tables.cumulative, job.objective.negative)
            self._positive_share = torch.from_numpy(share).to(self.device)

    def train_chunk(self, weights: Weights, chunk: Chunk, step: Step) -> Tally:
        """Train the chunk's centers, step after step, each from the weights that the last one left.

        Raises
        ------
        TrainingDivergedError
            The last update of the chunk holds NaN or infinity.
        """
        tally, updates = Tally(), []
        for unit in self.units(weights, chunk, step, tally):
            updates = self.updates(weights, unit, tally)
            for update in updates:
                update.apply()
        if updates and not math.isfinite(float(updates[-1].values.sum())):
            last = chunk.first_position + chunk.stop
            raise TrainingDivergedError(
                f"an update became NaN or infinite before token {last} of the epoch, at alpha={step.alpha:g}. "
                "Lower alpha, or subsample frequent words more (a smaller `sample`)."
            )
        return tally

    # ---- preparing steps: everything that does not depend on the weights ---------------------------------------

    def units(self, weights: Weights, chunk: Chunk, step: Step, tally: Tally) -> Iterator[Unit]:
        """Sample the chunk and prepare its steps, in order. Words and pairs go to the tally."""
        tiles = self.frames.sampler.tiles(chunk, step.draw_key) if chunk.start < chunk.stop else None
        if tiles is None:
            return
        tally.effective_words += tiles.count
        for part in self.frames.parts(tiles, _MAX_PREPARED if self._nodes is None else _MAX_PREPARED_PATHS):
            yield from self._prepare(weights, part, step, tally)

    def _prepare(self, weights: Weights, part: Part, step: Step, tally: Tally) -> Iterator[Unit]:
        """The steps of one part."""
        objective, tile, dtype = self.job.objective, self.job.plan.tile, weights.inputs.dtype
        adagrad = self.job.adagrad
        caps = replace(step, alpha=math.inf) if adagrad else step  # rates are those that the step will find
        frame = self.frames.make(weights, part, caps, tally, locked=not adagrad)
        window = self.frames.windows(part, dtype)  # [t, T, S]
        steps, shape = len(frame.line), (part.size, tile, part.slots)
        gather: Sequence[torch.Tensor | None] = [None] * steps
        spread = ahead = gather
        if not objective.skip_gram:
            shared = window / frame.contexts.clamp(min=1).view(-1, tile, 1)
            # word2vec.c hands the whole error to every context when the hidden row was their mean, and an equal share
            # of it when it was their sum: the opposite of the gradient (docs/parity.md, "CBOW's gradient").
            both = (shared if objective.cbow_mean else window, shared if objective.shares_error else window)
            gather, spread = (x.split(part.size) for x in both)
        words: Sequence[Words | None] = [None] * steps
        if objective.negative:
            label = window.view(-1, *shape) if objective.skip_gram else frame.examples.to(dtype).unsqueeze(2)
            words = self._prepare_words(frame, label)
        nodes: list[list[Nodes]] = [[] for _ in range(steps)]
        if self._nodes is not None:
            nodes = self._nodes.prepare(frame, window, caps.alpha)
            if self.job.plan.inputs_ahead == "step":
                own = ahead_of(frame.examples, dtype)
                ahead = (own if adagrad else own.mul_(frame.scale)).unsqueeze(2).unbind()
        sums = rows_as_they_come(frame.line, frame.scale, ordered=self.frames.ordered)
        for k in range(steps):
            lock = weights.input_lock[frame.line[k]] if adagrad and weights.input_lock is not None else None
            yield Unit(
                frame.line[k], sums[k], shape, gather[k], spread[k], words[k], nodes[k], ahead[k], step.compute_loss,
                step.alpha, lock,
            )  # fmt: skip

    def _prepare_words(self, frame: Frame, label: torch.Tensor) -> list[Words]:
        """Centers and negatives of k steps. `label` is Q of the centers, [k, b, T, S] or (CBOW) [k, b * T, 1]."""
        plan, dtype = self.job.plan, label.dtype
        steps, hidden = frame.examples.shape
        groups = -(-hidden // plan.group)
        weight = pad(frame.examples.to(dtype), (0, groups * plan.group - hidden))
        weight = weight.mul_(-self.job.objective.negative / plan.shared_negatives)
        if plan.spread:
            weight = weight.view(steps, plan.group, groups, 1).permute(0, 2, 3, 1)
        share = self._positive_share[frame.centers].to(dtype)  # [k, b * T]
        minus_q = share.neg().view(*label.shape[:-1], 1) * label
        weight = weight.view(steps, groups, 1, plan.group)
        # Where most negatives are the center itself, they undo the moves: tiny vocabularies.
        ahead = ahead_of(frame.contexts, dtype).mul_(share.clamp_(min=0))
        if not self.job.adagrad:
            ahead.mul_(frame.row_scale[:, : share.shape[1]])
        sums = rows_as_they_come(frame.rows, frame.row_scale, ordered=self.frames.ordered)
        parts = zip(frame.rows, label, minus_q, weight, ahead.unsqueeze(2), sums, strict=True)
        return [Words(*part) for part in parts]

    # ---- one step ------------------------------------------------------------------------------------------------

    def updates(self, weights: Weights, unit: Unit, tally: Tally) -> list[RowUpdate]:
        """Read the weights and compute what to add to them; nothing is written yet."""
        unit = self._at_rates(weights, unit) if self.job.adagrad else unit
        tile = unit.tiles[1]
        line = embedding(unit.line, weights.inputs)  # [L, D]
        slots = tiles_of(line, unit.tiles)  # [b, S, D]
        hidden = slots if unit.gather is None else torch.bmm(unit.gather, slots)  # [b, R, D]
        rows = line if unit.gather is None else hidden.flatten(0, 1)  # hidden rows side by side
        # What the outputs ask of the hidden rows; negatives come first and fill it all.
        pull = torch.zeros_like(rows) if unit.words is None else torch.empty_like(rows)
        squares = Squares(weights, mean_squares(rows), self.frames.ordered) if self.job.adagrad else None
        updates = []
        if unit.words is not None:
            assert weights.outputs is not None
            updates.append(self._train_words(weights.outputs, unit, rows, hidden, pull, tally, squares))
        if unit.nodes:
            assert weights.nodes is not None
            updates += self._train_nodes(weights.nodes, unit, rows, pull, tally, squares)
        if unit.spread is not None:
            pull = self._back(unit.spread, pull, tile)
        if squares is not None:
            asked = squares.asked if unit.spread is None else self._back(unit.spread.square(), squares.asked, tile)
            updates += squares.of_inputs(unit.line, asked)
        updates.append(unit.sums.update(weights.inputs, pull))
        return updates

    @staticmethod
    def _at_rates(weights: Weights, unit: Unit) -> Unit:
        """AdaGrad: the unit with the rates of its rows, as they are now."""
        assert weights.input_squares is not None
        alpha, words, nodes, ahead = unit.alpha, unit.words, unit.nodes, unit.ahead
        sums = with_rates(unit.sums, weights.input_squares, alpha, unit.lock)
        if ahead is not None and sums.weights is not None:
            ahead = ahead * sums.weights.unsqueeze(1)
        if words is not None and weights.output_squares is not None:
            of_words = with_rates(words.sums, weights.output_squares, alpha)
            assert of_words.weights is not None
            own = of_words.weights[: len(words.ahead)].unsqueeze(1)
            words = replace(words, sums=of_words, ahead=words.ahead * own)
        if weights.node_squares is not None:
            nodes = [nodes_with_rates(of_kind, weights.node_squares, alpha) for of_kind in nodes]
        return replace(unit, sums=sums, words=words, nodes=nodes, ahead=ahead)

    @staticmethod
    def _back(spread: torch.Tensor, asked: torch.Tensor, tile: int) -> torch.Tensor:
        """CBOW: what is asked of hidden rows [b * T, *], handed back to the slots that made them: [L, *]."""
        tiles, _, slots = spread.shape
        back = torch.bmm(spread.transpose(1, 2), asked.view(tiles, tile, -1))  # [b, S, *]
        line = back.new_zeros(((tiles - 1) * tile + slots, back.shape[2]))
        add_tiles(line, back, tile)
        return line

    def _train_words(
        self,
        matrix: torch.Tensor,
        unit: Unit,
        rows: torch.Tensor,
        hidden: torch.Tensor,
        pull: torch.Tensor,
        tally: Tally,
        squares: Squares | None,
    ) -> RowUpdate:
        """Centers and negatives: the update of their rows; `pull` is filled in place."""
        words = unit.words
        assert words is not None
        tiles, tile, _ = unit.tiles
        groups, _, group = words.weight.shape
        count, width = tiles * tile, matrix.shape[1]
        output = embedding(words.rows, matrix)  # [b * T + g * N, D]
        values = torch.empty_like(output)
        centers, negatives = output[:count], output[count:].view(groups, -1, width)

        def grouped(line: torch.Tensor) -> torch.Tensor:  # [g, G, D]
            if self.job.plan.spread:
                return line.view(group, groups, -1).transpose(0, 1)
            return line.view(groups, group, -1)

        padded = rows if len(rows) == groups * group else pad(rows, (0, 0, 0, groups * group - len(rows)))
        pushed = pull if padded is rows else torch.empty_like(padded)
        apart = grouped(padded)
        grip = torch.bmm(negatives, apart.transpose(1, 2))  # [g, N, G]: scores, then their pull
        if unit.compute_loss:
            tally.loss += float(logistic_loss(grip, -words.weight).sum())
        grip.sigmoid_()
        of_negatives = None
        if squares is not None:
            of_negatives = squares.of_negatives(grip.square().mul_(-words.weight), negatives, grouped)
        grip.mul_(words.weight)
        torch.bmm(grip.transpose(1, 2), negatives, out=grouped(pushed))
        if pushed is not pull:
            pull.copy_(pushed[: len(pull)])
        torch.bmm(grip, apart, out=values[count:].view(groups, -1, width))

        own = values[:count]
        if unit.gather is None:
            centers = centers.view(tiles, tile, width)
            grip = torch.bmm(centers, hidden.transpose(1, 2))  # [b, T, S]
        else:
            grip = (centers * rows).sum(1, keepdim=True)  # [b * T, 1]
        if unit.compute_loss:
            tally.loss += float(logistic_loss(grip, -words.minus_q, words.label).sum())
        grip = torch.addcmul(words.label, grip.sigmoid_(), words.minus_q)
        if squares is not None and of_negatives is not None:
            squares.of_words(words.rows, [squares.of_centers(grip.square(), output[:count]), of_negatives])
        if unit.gather is None:
            own = own.view_as(centers)
            torch.bmm(grip, hidden, out=own)
            centers = torch.addcmul(centers, own, words.ahead.view(tiles, tile, 1))
            add_tiles(pull, torch.bmm(grip.transpose(1, 2), centers), tile)
        else:
            pull.addcmul_(grip, centers)
            torch.mul(grip, rows, out=own)
        return words.sums.update(matrix, values)

    @staticmethod
    def _train_nodes(
        matrix: torch.Tensor,
        unit: Unit,
        rows: torch.Tensor,
        pull: torch.Tensor,
        tally: Tally,
        squares: Squares | None,
    ) -> list[RowUpdate]:
        """Huffman nodes: the updates of their rows; what they ask of the hidden rows is added to `pull`."""
        met = []
        for nodes in unit.nodes:
            output, scores = nodes.meet(matrix, rows)
            if unit.compute_loss:
                tally.loss += loss_of(nodes, scores)
            if squares is not None:
                squares.of_nodes(nodes, output, scores)
            met.append((nodes, output, pull_of(nodes, scores)))
        if unit.ahead is not None:
            asked = [nodes.pull(output, grip) for nodes, output, grip in met]
            rows = torch.addcmul(rows, sum(asked[1:], start=asked[0]), unit.ahead)
        updates = []
        for nodes, output, grip in met:
            update, output = nodes.move(matrix, output, grip, rows)
            pull += nodes.pull(output, grip)
            updates.append(update)
        return updates

"""Trains a narrow Inception-v3 (to mixed5) to dream like the real one. See README.md.

usage: train.py WEIGHTS.h5 PHOTOGRAPHS.npz OUT.pt --minutes M [--start STUDENT] [--width .5] [--phase PHASE]
features:  each student channel imitates one of the teacher's; BatchNorm learns. Where one begins.
gradients: also the direction of the dream's gradient; BatchNorm frozen. Starts from what features left."""
import argparse
import math
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F

from crops import Pool, pyramid
from inception import Folded, Student, channels_last, imitated, keras_layers, start, stimulation

HINTS = ['activation_3', 'activation_5', 'mixed0', 'mixed1', 'mixed2', 'mixed3', 'mixed4', 'mixed5', 'activation_41']
TARGETS = {'mixed0': .04, 'mixed2': .1, 'mixed3': .2, 'mixed4': .2, 'mixed5': .16, 'activation_41': .3}


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('weights')
    parser.add_argument('photographs')
    parser.add_argument('out')
    parser.add_argument('--minutes', type=float, required=True)
    parser.add_argument('--start')
    parser.add_argument('--width', type=float, default=.5)
    parser.add_argument('--phase', choices=['features', 'gradients'], default='gradients')
    parser.add_argument('--side', type=int, default=256, help='of the crops')
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--pool', type=int, default=40, help='crops that are dreamt on at a time')
    parser.add_argument('--rate', type=float, help='of learning (default: 3e-3 for features, 1.5e-3 for gradients)')
    parser.add_argument('--optimizer', choices=['adamw', 'muon'], default='muon')
    parser.add_argument('--own', type=float, default=.5, help='part of the steps that follow the student')
    parser.add_argument('--spread', type=float, default=.1, help='weight of the penalty on hot spots')
    parser.add_argument('--exact-from', type=float, default=2,
                        help='part of the time after which the teacher computes in float32')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--partner', metavar='OUT.pt', help='of a run beside this one, with another seed: each takes '
                        'the mean of the two from time to time. Two runs of one thread learn more than one of two')
    return parser.parse_args()


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal (Newton-Schulz), for kernels."""

    def __init__(self, parameters, lr, momentum=.95):
        super().__init__(parameters, {'lr': lr, 'momentum': momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group['params']:
                state = self.state[p]
                if 'mean' not in state:
                    state['mean'] = torch.zeros_like(p)
                state['mean'].lerp_(p.grad, 1 - group['momentum'])
                update = p.grad.lerp(state['mean'], group['momentum']).flatten(1)
                p.add_(self.orthogonal(update).view(p.shape), alpha=-group['lr'])

    @staticmethod
    def orthogonal(g):
        turned = g.shape[0] > g.shape[1]
        x = g.T if turned else g
        x = x / (x.norm() + 1e-12)
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
        return (x.T if turned else x) * .2 * math.sqrt(max(g.shape))


def optimizers(student, name, rate):
    kernels = [p for p in student.parameters() if p.dim() == 4]
    others = [p for p in student.parameters() if p.dim() != 4]
    if name == 'adamw':
        return [torch.optim.AdamW(student.parameters(), lr=rate, betas=(.9, .98), weight_decay=1e-4)]
    return [Muon(kernels, rate), torch.optim.AdamW(others, lr=rate, betas=(.9, .98), weight_decay=0)]


def energies(teacher, pool):
    """Mean square of every channel of every layer, over some of the pool."""
    sums = {}
    with torch.no_grad():
        for k in range(0, min(48, pool.count), 8):
            for name, a in teacher(pool.crops[k:k + 8]).items():
                sums.setdefault(name, []).append(a.float().square().mean((0, 2, 3)))
    return {name: torch.stack(values).mean(0) for name, values in sums.items()}


def meet(student, out, partner):
    """Leaves the weights for the partner and takes the mean with what it left last."""
    torch.save(student.state_dict(), out + '.part')
    os.replace(out + '.part', out + '.now')
    if os.path.exists(partner + '.now'):
        theirs = torch.load(partner + '.now')
        with torch.no_grad():
            for name, value in student.state_dict().items():
                if value.dtype.is_floating_point:
                    value.lerp_(theirs[name], .5)


def feature_loss(own, wanted, track):
    loss = 0
    for name in HINTS:
        error = (own[name].float() - wanted[name]).square().mean((0, 2, 3))
        power = wanted[name].square().mean((0, 2, 3))
        relative = error.sum() / power.sum()
        each = (error / (power + .05 * power.mean())).mean()
        loss = loss + (.5 * relative + .5 * each) * (1 if name.startswith('mixed') else .5)
        track(name, relative.item())
    return loss


def gradient_loss(own, wanted, spread, track):
    """1 - cosine at full, half and quarter resolution, where the eye looks; and how differently the two spread
    their strength over the picture (16-pixel squares), which is what keeps the student from hot spots."""
    loss = 0
    for k in (1, 2, 4):
        a, b = (F.avg_pool2d(g, k) if k > 1 else g for g in (own, wanted))
        norms = a.square().sum((1, 2, 3)) * b.square().sum((1, 2, 3))
        cosine = (a * b).sum((1, 2, 3)) / (norms + 1e-30).sqrt()
        loss = loss + (1 - cosine).mean()
        track(f'cosine/{k}', cosine.mean().item())
    def strength(g):
        squares = F.avg_pool2d(g.square().sum(1, keepdim=True), 16)
        return (squares / squares.mean((1, 2, 3), keepdim=True).clamp_min(1e-30) + .03).log()
    difference = (strength(own) - strength(wanted)).abs().mean()
    track('spread', difference.item())
    return loss + spread * difference


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    random.seed(options.seed)
    np.random.seed(options.seed)
    gradients = options.phase == 'gradients'
    layers = keras_layers(options.weights)
    teacher = Folded(layers, torch.bfloat16)
    pool = Pool(pyramid(options.photographs, options.side + 8), options.side, options.pool)
    student = Student(teacher, options.width)
    chosen = imitated(energies(teacher, pool), options.width)
    if options.start:
        state, imitates = start(options.start)
        student.load_state_dict(state)
        chosen.update(imitates)
    averaged = {k: v.clone() for k, v in student.state_dict().items()}
    rate = options.rate or (1.5e-3 if gradients else 3e-3)
    steps = optimizers(student, options.optimizer, rate)
    running, iteration, begin = {}, 0, time.time()

    def track(name, value):
        running[name] = .98 * running.get(name, value) + .02 * value

    def save():
        torch.save({'ema': averaged, 'idx': {n: chosen[n] for n in HINTS}, 'alpha': options.width}, options.out)

    student.train(not gradients)
    while (past := (time.time() - begin) / 60 / options.minutes) < 1:
        if past >= options.exact_from and teacher.dtype != torch.float32:
            teacher = Folded(layers, torch.float32)
        for step in steps:
            for group in step.param_groups:
                group['lr'] = rate * (min(1, (iteration + 1) / 100) * (.5 + .5 * math.cos(math.pi * past)) + .005)
        ids, x = pool.take(options.batch)
        target = random.choices(list(TARGETS), TARGETS.values())[0]
        own_step = random.random() < options.own

        x.requires_grad_(gradients or not own_step)
        theirs = teacher(x)
        if x.requires_grad:
            wanted, = torch.autograd.grad(stimulation(theirs[target]).sum(), x)
        theirs = {n: theirs[n].detach().float()[:, chosen[n]] for n in HINTS}
        x = x.detach()

        seen = x.clone().requires_grad_(gradients or own_step)
        with torch.autocast('cpu', torch.bfloat16, enabled=not gradients):
            mine = student(seen)
        if seen.requires_grad:
            own, = torch.autograd.grad(stimulation(mine[target]).sum(), seen, create_graph=gradients,
                                       retain_graph=True)
        loss = feature_loss(mine, theirs, track)
        if gradients:
            loss = loss + 1.5 * gradient_loss(own, wanted, options.spread, track)
        student.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.)
        for step in steps:
            step.step()
        pool.climb(ids, x, own.detach() if own_step else wanted)

        keep = min(.998, (iteration + 1) / (iteration + 20))
        for name, value in student.state_dict().items():
            if value.dtype.is_floating_point:
                averaged[name].mul_(keep).add_(value, alpha=1 - keep)
        iteration += 1
        if options.partner and iteration % 50 == 0:
            meet(student, options.out, options.partner)
        if iteration % 50 == 0:
            print(f'{past * options.minutes:.1f} min, {iteration}: '
                  + ' '.join(f'{n} {v:.3f}' for n, v in running.items()), flush=True)
        if iteration % 250 == 0:
            save()
    save()


if __name__ == '__main__':
    main()

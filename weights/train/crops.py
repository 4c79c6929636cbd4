"""The pictures that a student is trained on: crops of photographs in a pool, in which they are dreamt on as the
program does it (steps of the normalised gradient, shifted and enlarged as by the octaves), then replaced."""
import math
import random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image


def pyramid(path, least):
    """Every photograph of photographs.py's file at three sizes, those that are at least `least` high and wide."""
    out = []
    for photograph in np.load(path).values():
        for scale in (1, .6, .36):
            h, w = int(photograph.shape[0] * scale), int(photograph.shape[1] * scale)
            if min(h, w) >= least:
                out.append(np.asarray(Image.fromarray(photograph).resize((w, h), Image.LANCZOS)))
    return out


class Pool:
    def __init__(self, photographs, side, count):
        self.photographs, self.side, self.count = photographs, side, count
        self.crops = torch.stack([self.fresh() for _ in range(count)])
        self.age = [0] * count
        self.life = [self.lifetime() for _ in range(count)]
        self.clipped = [random.random() < .5 for _ in range(count)]

    def lifetime(self):
        return random.randint(0, 80)

    def fresh(self):
        side, a = self.side, random.choice(self.photographs)
        y, x = random.randrange(a.shape[0] - side + 1), random.randrange(a.shape[1] - side + 1)
        crop = a[y:y + side, x:x + side].astype(np.float32) / 127.5 - 1
        if random.random() < .5:
            crop = crop[:, ::-1]
        if random.random() < .6:
            crop = (crop * random.uniform(.6, 1.2) + random.uniform(-.2, .2)
                    + np.random.uniform(-.15, .15, 3).astype(np.float32))
        if random.random() < .15:
            crop = crop[:, :, np.random.permutation(3)]
        if random.random() < .05:
            crop = np.random.normal(0, random.uniform(.02, .4), crop.shape) + np.random.uniform(-.7, .7, 3)
        return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1), dtype=np.float32)).clamp(-1.2, 1.2)

    def take(self, batch):
        ids = random.sample(range(self.count), batch)
        return ids, self.crops[ids].contiguous(memory_format=torch.channels_last)

    def climb(self, ids, x, gradient):
        """Puts the crops x back, one step along gradient further (each crop's own length of step)."""
        gradient = gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-9)
        for j, k in enumerate(ids):
            step = math.exp(random.uniform(math.log(.01), math.log(.05)))
            limit = 1 if self.clipped[k] else 2.5
            self.crops[k] = (x[j] + step * gradient[j]).clamp(-limit, limit)
            self.age[k] += 1
            if self.age[k] > self.life[k]:
                self.crops[k], self.age[k], self.life[k] = self.fresh(), 0, self.lifetime()
            elif random.random() < .08:
                self.enlarge(k)

    def enlarge(self, k):
        part = random.randint(int(self.side * .71), self.side - 8)
        y, x = random.randrange(self.side - part), random.randrange(self.side - part)
        self.crops[k] = F.interpolate(self.crops[k][None, :, y:y + part, x:x + part], size=(self.side, self.side),
                                      mode='bilinear', align_corners=True)[0]

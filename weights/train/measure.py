"""How well students dream, on pictures that no training saw.

usage: measure.py WEIGHTS.h5 IMAGE... --students STUDENT... [--width 288] [--sheet OUT.jpg] [--gradients-only]
                  [--keep FILE.pt]
(a) the teacher's own loss after a student's dream, divided by that after the teacher's own (both clipped, so that
    the two climb under the same rule), for each target;
(b) the cosine between the student's and the teacher's gradients at full, half and quarter resolution, on the
    photographs and in the middle of the teacher's and the student's dreams.
--keep: the teacher's dreams are kept in that file from one run to the next."""
import argparse
import os

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from dream import dream, gradient, image, network, picture

TARGETS = ['activation_41', 'mixed3', 'mixed4', 'mixed5']


def cosines(student, teacher, x, layer):
    a, b = gradient(student, x, layer)[1], gradient(teacher, x, layer)[1]
    return [F.cosine_similarity(F.avg_pool2d(a, k).flatten(), F.avg_pool2d(b, k).flatten(), 0).item()
            for k in (1, 2, 4)]


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows)]


def text(values):
    return ' / '.join(f'{v:.2f}' for v in values)


def sheet(pictures, path):
    """pictures: rows of (title, picture)."""
    h, w = pictures[0][0][1].shape[2:]
    out = Image.new('RGB', (len(pictures[0]) * w, len(pictures) * (h + 14)), 'white')
    for row, line in enumerate(pictures):
        for column, (title, x) in enumerate(line):
            ImageDraw.Draw(out).text((column * w + 2, row * (h + 14) + 1), title, fill='black')
            out.paste(image(x).resize((w, h)), (column * w, row * (h + 14) + 14))
    out.save(path, quality=80)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('weights')
    parser.add_argument('images', nargs='+')
    parser.add_argument('--students', nargs='+', required=True)
    parser.add_argument('--width', type=int, default=288)
    parser.add_argument('--sheet')
    parser.add_argument('--keep')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--gradients-only', action='store_true')
    parser.add_argument('--targets', nargs='+', default=TARGETS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    teacher, students = network(options.weights), [network(s) for s in options.students]
    photographs = [picture(path, options.width) for path in options.images]
    lines = [[(os.path.basename(path), x)] for path, x in zip(options.images, photographs)]
    kept = torch.load(options.keep) if options.keep and os.path.exists(options.keep) else {}
    print('network | target | (a) | (b) photographs | (b) in the teacher\'s dreams | (b) in its own dreams')
    for layer in options.targets:
        middles, theirs = [], []
        for path, x, line in zip(options.images, photographs, lines):
            if options.gradients_only:
                continue
            key = (os.path.basename(path), options.width, layer)
            if key not in kept:
                middle = []
                done = dream(teacher, x, layer, True, seen=middle.append)
                kept[key] = middle[0], done, gradient(teacher, done, layer)[0]
                if options.keep:
                    torch.save(kept, options.keep)
            middles.append(kept[key][0])
            line.append(('teacher, ' + layer, kept[key][1]))
            theirs.append(kept[key][2])
        for name, student in zip(options.students, students):
            ratio, own, found = [], [], []
            for i, x in enumerate(photographs):
                found.append(cosines(student, teacher, x, layer))
                if not options.gradients_only:
                    done = dream(student, x, layer, True, seen=own.append)
                    ratio.append(gradient(teacher, done, layer)[0] / theirs[i])
                    lines[i].append((os.path.basename(name) + ', ' + layer, done))
            columns = [text(mean(found))]
            for group in (middles, own):
                if group:
                    columns.append(text(mean([cosines(student, teacher, x, layer) for x in group])))
            share = f'{sum(ratio) / len(ratio):.3f}' if ratio else '-'
            print(' | '.join([os.path.basename(name), layer, share] + columns), flush=True)
    if options.sheet:
        sheet(lines, options.sheet)


if __name__ == '__main__':
    main()

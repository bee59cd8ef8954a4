"""Matches the images of two lists by their ids or by the names of their files."""

from collections.abc import Collection, Mapping

from kmax_tf.coco_panoptic import names
from kmax_tf.coco_panoptic.values import PanopticFileError

Id = int | str


def pair_ids(ours: Collection[Id], theirs: Collection[Id]) -> dict[Id, Id]:
    """Pairs each of our ids with the one of theirs that means the same image, in the order of ours.

    Equal ids are paired first, then ids such as "000000000139" and 139, then those that differ only in a benchmark's suffix
    (names.plain_name). Ambiguous ids are not paired.
    """
    pairs: dict[Id, Id] = {}
    left, right = list(ours), list(theirs)
    for form in range(len(names.id_forms(0))):
        mine, others = _unique(left, form), _unique(right, form)
        pairs |= {our: others[key] for key, our in mine.items() if key in others}
        taken = set(pairs.values())
        left, right = [i for i in left if i not in pairs], [i for i in right if i not in taken]
    return {our: pairs[our] for our in ours if our in pairs}


def _unique(ids: Collection[Id], form: int) -> dict:
    found: dict = {}
    for image_id in ids:
        found.setdefault(names.id_forms(image_id)[form], []).append(image_id)
    return {key: of_key[0] for key, of_key in found.items() if len(of_key) == 1}


def pair_names(ours: Mapping[Id, str], theirs: Mapping[Id, str], where: tuple[str, str]) -> dict[Id, Id]:
    """Pairs ids by file names, without their extension and a benchmark's suffix.

    If names are not unique in a list, as many parent folders as necessary are compared, too.

    Args:
      ours: file names by id.
      theirs: file names of the other list by id.
      where: for each list, the start of error messages.

    Raises:
      PanopticFileError: two files of a list have the same name.
    """
    lists = [{i: names.image_name(name) for i, name in files.items()} for files in (ours, theirs)]
    depth = max((name.count("/") for files in lists for name in files.values()), default=0) + 1
    for count in range(1, depth + 1):
        by_key = [_by_key(files, count) for files in lists]
        if all(len(keys) == len(files) for keys, files in zip(by_key, lists, strict=True)):
            return {our: by_key[1][key] for key, our in by_key[0].items() if key in by_key[1]}
    for files, plain, opening in zip((ours, theirs), lists, where, strict=True):
        seen: dict[str, Id] = {}
        for image_id, name in plain.items():
            first = seen.setdefault(names.trailing(name, depth), image_id)
            if first != image_id:
                raise PanopticFileError(
                    f"{opening}: images {first} and {image_id} have files with the same name, {names.shown(files[image_id])}: "
                    "pair images by id, or rename one"
                )
    raise AssertionError("complete names that differ also differ at the largest depth")


def _by_key(files: Mapping[Id, str], count: int) -> dict[str, Id]:
    return {names.trailing(name, count): image_id for image_id, name in files.items()}

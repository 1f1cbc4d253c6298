"""School, Parkinson's and SARCOS: what is in which part, and what standardisation has seen; made up, and the real tables."""

import jax
import numpy as np
import pytest

import jmeta


def write_school(folder):
    random = np.random.default_rng(0)
    task = np.repeat(np.arange(12), random.integers(20, 30, 12)).astype(np.int16)
    # The first input numbers the rows.
    x = np.concatenate([np.arange(len(task))[:, None], 5 + random.normal(size=(len(task), 26)), np.ones((len(task), 1))], axis=1)
    arrays = {"x": x.astype(np.float32), "y": random.uniform(1, 70, len(task)).astype(np.float32), "task": task}
    np.savez(folder / "school.npz", **arrays)
    return arrays["x"][:, :27], arrays["y"][:, None], task


def write_parkinsons(folder):
    random = np.random.default_rng(1)
    subject, days = np.repeat(np.arange(1, 9), 24), np.tile(np.arange(24) % 8 * 7, 8)
    data = np.round(random.normal(size=(len(subject), 22)), 4)
    data[:, 0], data[:, 3] = subject, days + random.choice([-0.4, 0.4], len(days))
    data[:, 1] = np.arange(len(subject))
    columns = np.array(["subject#", *map(str, range(21))])
    np.savez(folder / "parkinsons_updrs.npz", data=data, columns=columns)
    np.savetxt(folder / "parkinsons_updrs.data", data, fmt="%.6g", delimiter=",", header=",".join(columns), comments="")
    return np.delete(data, [0, 4, 5], axis=1), data[:, 4:6], data


def write_sarcos(folder):
    import scipy.io

    random = np.random.default_rng(2)
    x, y = random.normal(size=(1025, 21)), 3 + random.normal(size=(1025, 7))
    x[:, 0] = np.arange(1025)
    np.savez(folder / "sarcos_inv_test.npz", x=x, y=y)
    scipy.io.savemat(folder / "sarcos_inv.mat", {"sarcos_inv": np.concatenate([x, y], axis=1)})
    return x, y


def rows_of(batch, scale, numbers):
    """Which rows of the table a batch holds, by its column of numbers."""
    x = np.asarray(batch.x, float)[..., numbers] * scale.deviation[numbers] + scale.mean[numbers]
    return np.rint(x[np.asarray(batch.real)] if x.ndim == 1 else x).astype(int)


def parts_of(splits, numbers):
    """Row numbers by task in each part."""
    train = splits.train.sample(splits.train.data, jax.random.key(0))
    parts = [train, splits.validation or {}, splits.test]
    return [{name: rows_of(batch, splits.inputs, numbers) for name, batch in part.items()} for part in parts]


def check_scales(splits, x, y, trained):
    """Standardised by the rows to train on, and by no others."""
    for scale, table in ((splits.inputs, x), (splits.targets, y)):
        mean = sum(table[row].astype(float) for row in trained) / len(trained)
        square = sum((table[row] - mean) ** 2 for row in trained) / len(trained)
        np.testing.assert_allclose(scale.mean, mean, rtol=1e-6)
        np.testing.assert_allclose(scale.deviation, np.sqrt(square), rtol=1e-6)


def test_a_quarter_of_each_school_is_for_the_test(tmp_path):
    x, y, task = write_school(tmp_path)
    splits = jmeta.school(tmp_path, seed=4)
    parts = parts_of(splits, 0)
    for name in parts[0]:
        own = np.flatnonzero(task == int(name))
        assert sorted(np.concatenate([part[name] for part in parts])) == own.tolist()
        assert len(parts[2][name]) == round(len(own) / 4)
        assert len(parts[1][name]) == round((len(own) - len(parts[2][name])) / 5)
        restored = splits.test[name].y * splits.targets.deviation + splits.targets.mean
        np.testing.assert_allclose(restored, y[parts[2][name]], rtol=1e-5)
    check_scales(splits, x, y, np.concatenate([*parts[0].values()]))

    # The test is that of the seed, whatever is held out.
    again, whole, other = (
        jmeta.school(tmp_path, **options) for options in ({"seed": 4}, {"seed": 4, "validation": 0}, {"seed": 5})
    )
    jax.tree.map(np.testing.assert_array_equal, again.test, splits.test)
    for name, rows in parts_of(whole, 0)[2].items():
        np.testing.assert_array_equal(rows, parts[2][name])
    assert whole.validation is None
    assert any(not np.array_equal(rows, parts[2][name]) for name, rows in parts_of(other, 0)[2].items())


def test_batches_of_schools_have_their_size(tmp_path):
    write_school(tmp_path)
    splits = jmeta.school(tmp_path / "school.npz", size=4)
    drawn = splits.train.sample(splits.train.data, jax.random.key(0))
    assert len(drawn) == 12
    assert {(batch.x.shape, batch.y.shape, batch.mask) for batch in drawn.values()} == {((4, 27), (4, 1), None)}


def test_episodes_are_of_schools_of_one_part(tmp_path):
    x, y, task = write_school(tmp_path)
    splits = jmeta.school_episodes(tmp_path, shots=5, queries=None, seed=1)
    schools = []
    for sampler in splits[:3]:
        rows = [rows_of(batch, splits.inputs, 0) for index in range(sampler.size) for batch in _whole(sampler, index)]
        schools.append(set(task[np.concatenate(rows)]))
        assert len(schools[-1]) == sampler.size
    assert [len(found) for found in schools] == [7, 2, 3]
    assert set.union(*schools) == set(range(12))
    check_scales(splits, x, y, np.flatnonzero(np.isin(task, [*schools[0]])))


def _whole(sampler, index):
    episode = sampler.at(sampler.data, index, jax.random.key(0))
    assert episode.support.x.shape == (5, 27)
    return episode.support, episode.query


def test_recordings_of_a_day_stay_together(tmp_path):
    x, y, data = write_parkinsons(tmp_path)
    splits = jmeta.parkinsons(tmp_path / "parkinsons_updrs.data")
    parts = parts_of(splits, 0)
    for name in parts[0]:
        days = [set(np.rint(data[part[name], 3] / 7).tolist()) for part in parts]
        assert [len(found) for found in days] == [5, 1, 2]
        assert len(set.union(*days)) == 8
        assert set(data[parts[2][name], 0]) == {int(name)}
    check_scales(splits, x, y, np.concatenate([*parts[0].values()]))
    # The archive holds the same, and is found first.
    jax.tree.map(np.testing.assert_array_equal, jmeta.parkinsons(tmp_path).test, splits.test)
    sizes = [sampler.size for sampler in jmeta.parkinsons_episodes(tmp_path, shots=3, queries=4)[:3]]
    assert sizes == [5, 1, 2]


def test_blocks_of_a_trajectory_stay_together(tmp_path):
    x, y = write_sarcos(tmp_path)
    splits = jmeta.sarcos(tmp_path, size=None, seed=2)
    everything = splits.train.sample(splits.train.data, jax.random.key(0)), splits.validation, splits.test
    parts = [rows_of(batch, splits.inputs, 0) for batch in everything]
    assert sorted(np.concatenate(parts)) == [*range(1025)]
    blocks = [set((part // 50).tolist()) for part in parts]
    assert [len(found) for found in blocks] == [13, 3, 5]
    check_scales(splits._replace(targets=_joined(splits.targets)), x, y, parts[0])
    for number in range(7):
        torque = splits.test.y[f"torque_{number + 1}"][:, 0]
        scale = [values[f"torque_{number + 1}"][0] for values in splits.targets]
        np.testing.assert_allclose(torque * scale[1] + scale[0], y[parts[2], number], rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, jmeta.sarcos(tmp_path / "sarcos_inv_test.npz", seed=2).test, splits.test)
    small = jmeta.sarcos(tmp_path, size=9).train
    assert small.sample(small.data, jax.random.key(0)).y["torque_7"].shape == (9, 1)


def _joined(scale):
    return type(scale)(*(np.concatenate([*values.values()]) for values in scale))


READERS = {
    "school": (jmeta.school, write_school, "school.npz", "x, y and task"),
    "parkinsons": (jmeta.parkinsons, write_parkinsons, "parkinsons_updrs.npz", "data"),
    "parkinsons, official": (jmeta.parkinsons, write_parkinsons, "parkinsons_updrs.data", "the official one"),
    "sarcos": (jmeta.sarcos, write_sarcos, "sarcos_inv_test.npz", "x and y"),
    "sarcos, official": (jmeta.sarcos, write_sarcos, "sarcos_inv.mat", "the official one"),
}


@pytest.mark.parametrize("kind", READERS)
def test_missing_and_damaged_tables_are_named(kind, tmp_path, monkeypatch):
    read, write, name, wanted = READERS[kind]
    monkeypatch.setenv("JMETA_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"no \S+ data in {tmp_path}.*{name}.*JMETA_DATA") as error:
        read(None)
    assert "\n" not in str(error.value)
    write(tmp_path)
    content = (tmp_path / name).read_bytes()
    for damaged in (content[: len(content) // 2 - 3], b"<html>", b""):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{name} is not a sound .*expected.*{wanted}") as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="validation must be a share of at least 0 and below 1; got 1"):
        (write(tmp_path), read(tmp_path, validation=1))


def test_tables_of_other_shapes_and_objects_are_refused(tmp_path):
    file = tmp_path / "school.npz"
    arrays = {"x": np.ones((4, 28)), "y": np.ones(4), "task": np.zeros(4, int)}
    for change, message in (
        ({"x": np.ones((4, 27))}, r"must hold x \[n, 28\]; got \(4, 27\)"),
        ({"task": np.zeros(3, int)}, r"must hold task \[4\]; got \(3,\)"),
        ({"y": np.full(4, None)}, "not a sound School archive.*allow_pickle=False"),
    ):
        np.savez(file, **(arrays | change))
        with pytest.raises(ValueError, match=message):
            jmeta.school(file)


# --- the real tables -------------------------------------------------------------------------------------------------------------


def test_the_real_schools(real_data):
    splits = jmeta.school(real_data("school"))
    with np.load(f"{real_data('school')}/school.npz") as archive:
        sizes = np.bincount(archive["task"])
    counts = [[len(part[f"{number:03d}"].x) for number in range(139)] for part in (splits.validation, splits.test)]
    trained = np.asarray(splits.train.data.mask).sum(1)
    np.testing.assert_array_equal(trained + np.sum(counts, axis=0), sizes)
    assert np.sum(counts[1]) / sizes.sum() == pytest.approx(0.25, abs=0.002)
    # Exam scores are whole.
    scores = splits.test["077"].y * splits.targets.deviation + splits.targets.mean
    np.testing.assert_allclose(scores, np.rint(scores), atol=1e-4)


def test_the_real_patients_and_the_real_arm(real_data):
    splits = jmeta.parkinsons(real_data("parkinsons"))
    assert (len(splits.test), splits.test["42"].x.shape[1:], splits.test["42"].y.shape[1:]) == (42, (19,), (2,))
    assert [sampler.size for sampler in jmeta.parkinsons_episodes(real_data("parkinsons"))[:3]] == [26, 6, 10]
    arm = jmeta.sarcos(real_data("sarcos"))
    assert len(arm.train.data.x) + len(arm.validation.x) + len(arm.test.x) == 4449
    x = np.asarray(arm.train.data.x)
    np.testing.assert_allclose((x.mean(0), x.std(0)), (np.zeros(21), np.ones(21)), atol=1e-4)

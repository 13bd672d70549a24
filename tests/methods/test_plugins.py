"""Methods of third parties: files and installed packages, right and wrong ones."""

import re
import sys
from pathlib import Path

import pytest
import torch

from methods import plugins
from methods.plugins import PluginError
from methods.registry import METHODS, add_plugin, find_methods, plugin_problems, read_spec
from methods.spec import SpecError
from tests.methods.tiny import build, make_batch

EXAMPLE = Path(__file__).parents[1] / "example_plugin" / "peakbench_predsim.py"
HEAD = "from methods.api import Method, Option\n"


@pytest.fixture(autouse=True)
def registry_as_before(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(plugins, "_FILES", {})
    plugins.find_installed.cache_clear()
    yield
    plugins.find_installed.cache_clear()


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a module and the metadata of its package where Python finds them."""

    def install(name, code, target=None):
        folder = tmp_path / "site"
        info = folder / f"{name}-2.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
        (info / "entry_points.txt").write_text(f"[peakbench.methods]\n{name} = {target or name + ':METHODS'}\n")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, name, raising=False)

    return install


def preset(name="mine", more=""):
    return f"{HEAD}METHODS = [Method(name={name!r}, summary='s', source='s', begins={{'local_loss': 'softmax'}}{more})]"


def test_a_file_registers_its_methods(write):
    path = write(preset(more=", options=(Option(name='w', sets='widen', default='2', choices={'2': 2.0}, help='h'),)"))
    add_plugin(path)
    add_plugin(path)  # once more changes nothing
    assert read_spec("mine").parts.widen == 2
    assert str(read_spec("mine[2]+checkpoint")) == "mine+checkpoint"
    assert find_methods()["mine"] == (find_methods()["mine"][0], str(path))
    assert find_methods()["dgl"] == (METHODS["dgl"], None)
    assert plugins.added_files() == (path,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("METHODS = (", "plugin {path} is not Python, line 1: '(' was never closed"),
        ("\0", "plugin {path} is not Python: source code string cannot contain null bytes"),
        ("x = 1\nint('one')", "plugin {path} fails in line 2 (`int('one')`): ValueError: invalid literal"),
        ("import no_such_package", "plugin {path} fails in line 1 (`import no_such_package`): ModuleNotFoundError"),
        ("open('/no/such/file')", "plugin {path} fails in line 1 (`open('/no/such/file')`): FileNotFoundError"),
        ("raise SystemExit(3)", "plugin {path} fails in line 1 (`raise SystemExit(3)`): SystemExit: 3"),
        ("", "plugin {path} has no METHODS, a list of methods.api.Method (see docs/adding-a-method.md)"),
        ("METHODS = []", "plugin {path}: METHODS is empty"),
        ("METHODS = 'dgl'", "plugin {path}: METHODS is a str, not a list of methods.api.Method"),
        ("METHODS = 3", "plugin {path}: METHODS is a int, not a list of methods.api.Method"),
        ("METHODS = [3]", "plugin {path}: METHODS holds 3, a int, not a methods.api.Method"),
        (preset("dgl"), "plugin {path}: method 'dgl' is registered already: choose another name"),
        (preset("my-own"), "plugin {path}: method 'my-own' needs a name of letters, digits and _"),
        (
            preset(more=", sets={'hed': '0c1f'}"),
            "method 'mine' sets 'hed', which is no field of Parts; it has local_loss",
        ),
        (
            preset(more=", options=(Option(name='o', sets='link.layers', default='1', help='h'),)"),
            "method 'mine': option 'o' sets 'link.layers', which does not exist",
        ),
        (
            preset(more=", options=(Option(name='o', sets='head', default='1', choices={'2': 2}, help='h'),)"),
            "method 'mine': option 'o' is 2, but its default '1'",
        ),
        (
            f"{HEAD}METHODS = Method(name='mine', summary='s', source='s', begins=None)",
            "method 'mine' can neither begin a spec (begins) nor be added to one (follows)",
        ),
    ],
)
def test_a_wrong_file_says_what_is_wrong(text, message, write):
    path = write(text)
    with pytest.raises(PluginError, match=re.escape(message.replace("{path}", str(path)))):
        add_plugin(path)
    assert plugins.added_files() == ()


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PluginError, match=r"cannot read plugin .*none\.py: No such file or directory"):
        add_plugin(tmp_path / "none.py")
    with pytest.raises(PluginError, match=r"cannot read plugin .*: Is a directory"):
        add_plugin(tmp_path)


def test_two_files_cannot_give_the_same_name(write):
    add_plugin(write(preset()))
    with pytest.raises(PluginError, match="method 'mine' is registered already"):
        add_plugin(write(preset(), "other.py"))


def test_an_installed_package_registers_its_methods(install):
    install("pack", preset())
    assert find_methods()["mine"][1] == "pack 2.0"
    assert read_spec("mine").parts.local_loss == "softmax"


def test_installed_packages_are_imported_only_for_names_that_are_not_known(install):
    install("pack", preset())
    read_spec("infopro+checkpoint")
    assert "pack" not in sys.modules
    read_spec("mine")
    assert "pack" in sys.modules


def test_a_package_that_fails_does_no_harm_and_is_named_where_it_might_matter(install):
    install("broken", "raise ValueError('planted')")
    install("clash", preset("dgl"))
    install("lost", preset(), "lost:NOTHING")
    install("pack", preset())
    assert read_spec("dgl").parts.local_loss == "softmax"
    assert read_spec("mine").parts.local_loss == "softmax"
    broken, clash, lost = plugin_problems()
    assert broken == (
        "plugin 'broken' of broken 2.0 fails in line 1 (`raise ValueError('planted')`): ValueError: planted"
    )
    assert clash == "plugin 'clash' of clash 2.0: method 'dgl' is registered already: choose another name"
    assert "plugin 'lost' of lost 2.0 fails" in lost
    assert "NOTHING" in lost
    with pytest.raises(SpecError, match=r"unknown method 'other': .*; plugin 'broken' of broken 2\.0 fails"):
        read_spec("other")


def test_a_file_comes_before_an_installed_package(install, write):
    install("pack", preset())
    path = write(preset(more=", sets={'head': '0c1f'}"))
    add_plugin(path)
    assert read_spec("mine").parts.head == "0c1f"
    assert find_methods()["mine"][1] == str(path)


@pytest.mark.parametrize("spec", ["predsim", "predsim[beta=0.5]+decoder+checkpoint[segments=2]", "predsim+mlaan"])
def test_a_loss_of_ones_own_trains_its_module_and_is_gone_at_inference(spec):
    add_plugin(EXAMPLE)
    network, batch = build(spec, 3), make_batch()
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(torch.stack(network.training_step(*batch).losses))
        optimizer.step()
        network.finish_step()
    assert len(losses[0]) == 3
    assert (losses[-1] < losses[0]).all()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
    network.eval()
    assert torch.equal(network(batch[0]), network.chain(batch[0]))


def test_the_example_is_what_its_formula_says():
    add_plugin(EXAMPLE)
    images, labels = make_batch()
    network = build("predsim[beta=0.3]", 2).double()
    loss = network.auxiliaries["0"].terms["local_loss"]
    features = torch.randn(16, loss.convolution.in_channels, 4, 4, dtype=torch.float64)
    found = loss(features, images, labels)

    def similarities(rows):
        rows = [[value - sum(row) / len(row) for value in row] for row in rows.tolist()]
        norms = [sum(value**2 for value in row) ** 0.5 for row in rows]
        dot = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))  # noqa: E731
        return [dot(a, b) / (m * n) for a, m in zip(rows, norms, strict=True) for b, n in zip(rows, norms, strict=True)]

    with torch.no_grad():
        deviations = loss.convolution(features).flatten(2).std(dim=2)
        one_hot = torch.eye(10, dtype=torch.float64)[labels]
        differences = [(a - b) ** 2 for a, b in zip(similarities(deviations), similarities(one_hot), strict=True)]
        logits = loss.classifier(features.mean(dim=(2, 3)))
        predicted = -logits.log_softmax(dim=1)[torch.arange(16), labels].mean()
    torch.testing.assert_close(found, 0.7 * predicted + 0.3 * sum(differences) / len(differences))


def test_a_loss_that_is_no_module_is_refused(write):
    add_plugin(write(preset().replace("'softmax'", "lambda chain, shape, parts: None")))
    with pytest.raises(SpecError, match=r"a local loss must be a torch\.nn\.Module; <function .* gives a NoneType"):
        build("mine", 2)

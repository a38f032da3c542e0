from xml.etree import ElementTree

from tests.benchmark import svg

NAMESPACE = "{http://www.w3.org/2000/svg}"


def test_bars_are_as_long_as_their_values_say() -> None:
    panel = svg.bars("Cost", [svg.Bar("a & b", 1, "1", True), svg.Bar("c", 10, "10")])
    tree = ElementTree.fromstring(svg.picture([panel]))
    widths = [float(each.attrib["width"]) for each in tree.iter(f"{NAMESPACE}rect")]
    assert 0 < widths[0] < widths[1]
    texts = [each.text for each in tree.iter(f"{NAMESPACE}text")]
    assert {"Cost", "a & b", "c", "10"} <= set(texts)


def test_curves_stay_inside_their_panel() -> None:
    drawn = [svg.Curve("one", [(2, 0.5), (1000, 80)]), svg.Curve("two", [(2, 1), (1000, 9)])]
    panel = svg.curves("Late", "share", "ms", drawn, {2: "50 %", 1000: "99.9 %"})
    tree = ElementTree.fromstring(svg.picture([panel]))
    paths = [each.attrib["d"] for each in tree.iter(f"{NAMESPACE}path")]
    assert len(paths) == 4  # and those of the legend
    lines_alone = [path for path in paths if "L" in path]
    numbers = [float(word) for path in lines_alone for word in path.split() if word not in "ML"]
    assert min(numbers) >= 0
    assert max(numbers[::2]) <= svg.WIDTH
    assert max(numbers[1::2]) <= panel.height


def test_nothing_measured_draws_nothing() -> None:
    assert svg.bars("Cost", []).height == 0
    assert svg.curves("Late", "share", "ms", [], {}).height == 0

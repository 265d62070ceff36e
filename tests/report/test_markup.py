from bitface.report.markup import labelled

HEAD = (
    '<thead><tr><td></td><th scope="col">B &lt;i&gt;</th><th scope="col" class="n">C</th><th scope="col">D</th></tr>'
    "</thead>"
)


def test_cells_say_their_columns() -> None:
    row = '<tr><th scope="row">a</th><td>1</td><td class="n" title="x &gt; y">2</td><td>3</td></tr>'
    text = str(labelled(f'<table class="wide">{HEAD}<tbody>{row}{row}</tbody></table>'))
    assert text.startswith('<table class="stacked wide">')
    assert text.count('<th scope="row">a</th>') == 2
    assert text.count('<td data-column="B &lt;i&gt;">1</td>') == 2
    assert text.count('<td class="n" title="x &gt; y" data-column="C">2</td>') == 2
    assert text.count('<td data-column="D">3</td>') == 2


def test_a_cell_of_several_columns_names_none() -> None:
    text = str(
        labelled(f'<table>{HEAD}<tbody><tr><th>a</th><td colspan="2">failed</td><td>3</td></tr></tbody></table>')
    )
    assert '<td colspan="2">failed</td><td data-column="D">3</td>' in text


def test_few_columns_stay_a_table() -> None:
    table = "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>"
    assert str(labelled(table)) == table

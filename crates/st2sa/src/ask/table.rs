//! Tables that fit: what matters least is left out first, then what is long is cut.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets};
use unicode_width::UnicodeWidthStr;

use super::paper::WHOLE;

/// What a word means to whoever reads it; each is a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// To be looked at some time.
    Odd,
    /// To be looked at.
    Bad,
}

/// A column, and how much it matters.
pub(crate) struct Column {
    header: &'static str,
    /// Columns of a higher rank are left out first; those of rank zero never are.
    rank: u8,
    /// How far it may be cut before columns are left out; none: as little as possible.
    cut_to: Option<usize>,
    right: bool,
    cells: Vec<String>,
}

/// Colours a word; the marks have no width, so that tables count right, and are replaced at the end.
pub(crate) fn toned(tone: Tone, word: &str) -> String {
    format!("{}{word}{END}", mark(tone))
}

/// Ends a text: its colours are put in, or left out; none goes beyond its line.
pub(crate) fn finished(text: &str, colour: bool) -> String {
    const PLAIN: &str = "\u{1b}[0m";
    let mut finished = String::with_capacity(text.len());
    let mut open = false;
    for letter in text.chars() {
        let start = match letter {
            GOOD => "\u{1b}[32m",
            ODD => "\u{1b}[33m",
            BAD => "\u{1b}[31m",
            END => "",
            letter => {
                // A word that was cut has lost its end.
                if letter == '\n' && std::mem::take(&mut open) {
                    finished.push_str(PLAIN);
                }
                finished.push(letter);
                continue;
            }
        };
        if colour {
            open = letter != END;
            finished.push_str(if open { start } else { PLAIN });
        }
    }
    finished
}

impl Column {
    /// A column that is always there.
    pub(crate) fn new(header: &'static str) -> Self {
        Self { header, rank: 0, cut_to: None, right: false, cells: Vec::new() }
    }

    /// Leaves it out where there is no room; the highest rank first.
    pub(crate) fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    /// Cuts it where there is no room, to no less than `width`.
    pub(crate) fn cut_to(mut self, width: usize) -> Self {
        self.cut_to = Some(width);
        self
    }

    /// For numbers.
    pub(crate) fn right(mut self) -> Self {
        self.right = true;
        self
    }

    /// Its cells, of all rows.
    pub(crate) fn cells(mut self, cells: impl Iterator<Item = String>) -> Self {
        self.cells = cells.collect();
        self
    }
}

/// Renders columns of the same length within `width`, one line a row.
pub(crate) fn rendered(columns: Vec<Column>, width: usize) -> String {
    // Nobody reads a table of no width; the names then run over the edge.
    const WIDTH_AT_LEAST: usize = 20;
    if width == WHOLE {
        return whole(&columns);
    }
    let (columns, widths) = fitted(columns, width.max(WIDTH_AT_LEAST));
    let mut table = table(&columns);
    table.set_width(u16::try_from(widths.iter().sum::<usize>()).unwrap_or(u16::MAX));
    table.set_content_arrangement(ContentArrangement::Dynamic).set_constraints(
        widths.iter().map(|width| ColumnConstraint::Absolute(Width::Fixed(u16::try_from(*width).unwrap_or(u16::MAX)))),
    );
    let last = columns.len().saturating_sub(1);
    for (index, (column, settings)) in columns.iter().zip(table.column_iter_mut()).enumerate() {
        settings.set_padding((0, if index == last { 0 } else { GAP }));
        if column.right {
            settings.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// All columns, as wide as they need to be.
fn whole(columns: &[Column]) -> String {
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| column.cells.iter().map(|cell| cell.width()).fold(column.header.width(), usize::max))
        .collect();
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let mut text = String::new();
    for row in 0..=rows {
        let mut line = String::new();
        for (column, width) in columns.iter().zip(&widths) {
            let cell = row.checked_sub(1).map_or(column.header, |row| &column.cells[row]);
            let room = " ".repeat(width - cell.width());
            let (before, behind) = if column.right { (room.as_str(), "") } else { ("", room.as_str()) };
            for part in [before, cell, behind, GAP_OF_SPACES] {
                line.push_str(part);
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

const GOOD: char = '\u{2061}';
const ODD: char = '\u{2062}';
const BAD: char = '\u{2063}';
const END: char = '\u{2064}';

/// Spaces between two columns.
const GAP: u16 = 2;
const GAP_OF_SPACES: &str = "  ";

fn mark(tone: Tone) -> char {
    match tone {
        Tone::Good => GOOD,
        Tone::Odd => ODD,
        Tone::Bad => BAD,
    }
}

/// The columns that have room, and their widths with the gap behind each.
fn fitted(mut columns: Vec<Column>, width: usize) -> (Vec<Column>, Vec<usize>) {
    let mut widths: Vec<usize> = table(&columns).column_max_content_widths().into_iter().map(usize::from).collect();
    let gap = usize::from(GAP);
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + gap * widths.len().saturating_sub(1);
    loop {
        let least = columns.iter().zip(&widths).map(|(column, natural)| least(column, *natural));
        if total(&least.collect::<Vec<_>>()) <= width {
            break;
        }
        let Some((index, _)) =
            columns.iter().enumerate().filter(|(_, column)| column.rank > 0).max_by_key(|(_, column)| column.rank)
        else {
            break;
        };
        columns.remove(index);
        widths.remove(index);
    }
    while total(&widths) > width {
        let over = total(&widths) - width;
        // First what may be cut, from the right; then whatever is widest.
        let cuttable = columns.iter().zip(&widths).rposition(|(column, now)| least(column, *now) < *now);
        let (index, floor) = match cuttable {
            Some(index) => (index, least(&columns[index], widths[index])),
            None => match widths.iter().enumerate().max_by_key(|(_, now)| **now) {
                Some((index, now)) if *now > 1 => (index, 1),
                _ => break,
            },
        };
        let step = if cuttable.is_some() { over } else { 1 };
        widths[index] = widths[index].saturating_sub(step).max(floor);
    }
    let last = widths.len().saturating_sub(1);
    let padded = widths.iter().enumerate().map(|(index, now)| if index == last { *now } else { now + gap });
    (columns, padded.collect())
}

fn least(column: &Column, natural: usize) -> usize {
    column.cut_to.map_or(natural, |cut| natural.min(cut.max(column.header.len())))
}

fn table(columns: &[Column]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(one_line(columns.iter().map(|column| column.header.to_owned())));
    let rows = columns.iter().map(|column| column.cells.len()).max().unwrap_or_default();
    for row in 0..rows {
        table.add_row(one_line(columns.iter().map(|column| column.cells.get(row).cloned().unwrap_or_default())));
    }
    table
}

fn one_line(cells: impl Iterator<Item = String>) -> Row {
    let mut row = Row::from(cells.collect::<Vec<_>>());
    row.max_height(1);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let cells = |cells: [&str; 2]| cells.map(str::to_owned).into_iter();
        vec![
            Column::new("NAME").cells(cells(["pack.First", "pack.TheSecondOne"])),
            Column::new("STATE").cells(cells([&toned(Tone::Good, "running"), "ready"])),
            Column::new("POLLS").rank(1).right().cells(cells(["7", "1200"])),
            Column::new("PID").rank(2).right().cells(cells(["42", "-"])),
            Column::new("ERROR").cut_to(12).cells(cells(["", "ValueError: nothing there at all"])),
        ]
    }

    fn check(width: usize, expected: &str) {
        let text = finished(&rendered(columns(), width), false);
        assert_eq!(text, expected.trim_start_matches('\n'), "\n{text}");
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
        assert!(widest <= width, "{widest} of {width}");
    }

    #[test]
    fn a_wide_table_has_everything() {
        check(
            80,
            "
NAME               STATE    POLLS  PID  ERROR
pack.First         running      7   42
pack.TheSecondOne  ready     1200    -  ValueError: nothing there at all
",
        );
    }

    #[test]
    fn what_may_be_cut_is_cut_before_anything_is_left_out() {
        check(
            60,
            "
NAME               STATE    POLLS  PID  ERROR
pack.First         running      7   42
pack.TheSecondOne  ready     1200    -  ValueError: nothing…
",
        );
    }

    #[test]
    fn the_least_important_columns_go_first() {
        check(
            50,
            "
NAME               STATE    POLLS  ERROR
pack.First         running      7
pack.TheSecondOne  ready     1200  ValueError:…
",
        );
    }

    #[test]
    fn names_are_cut_only_where_nothing_else_is_left_to_cut() {
        check(
            30,
            "
NAME        STATE    ERROR
pack.First  running
pack.TheS…  ready    ValueErr…
",
        );
    }

    #[test]
    fn where_nobody_looks_nothing_is_cut_and_nothing_left_out() {
        let long = "x".repeat(100_000);
        let mut columns = columns();
        columns.push(Column::new("VALUE").rank(9).cut_to(5).cells(["wide: 好", &long].into_iter().map(str::to_owned)));
        let text = finished(&rendered(columns, WHOLE), false);
        assert_eq!(
            text,
            format!(
                "\
NAME               STATE    POLLS  PID  ERROR                             VALUE
pack.First         running      7   42                                    wide: 好
pack.TheSecondOne  ready     1200    -  ValueError: nothing there at all  {long}
"
            )
        );
        let text = finished(&rendered(self::columns(), WHOLE), true);
        assert!(text.contains("pack.First         \u{1b}[32mrunning\u{1b}[0m      7   42\n"), "{text:?}");
    }

    #[test]
    fn colours_take_no_room() {
        let text = finished(&rendered(columns(), 80), true);
        assert!(text.contains("pack.First         \u{1b}[32mrunning\u{1b}[0m      7   42\n"), "{text:?}");
    }
}

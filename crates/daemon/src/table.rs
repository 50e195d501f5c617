//! Aligned tables, as wide as what they hold or as narrow as the terminal.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Which way a column leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    /// To the left, and never cut: half a time says nothing.
    Whole,
    Right,
}

/// Between two columns.
const GAP: usize = 2;
/// A name is not cut to less than this.
const MIN_NAME: usize = 12;

/// Rows under headings, each column as wide as its widest cell; one without any text takes no room.
pub(crate) fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let widths = widths(columns, rows);
    let headings: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let all = std::iter::once(&headings).chain(rows);
    all.map(|row| line(columns, row, &widths) + "\n").collect()
}

/// How many places on a terminal a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The width of a table with these rows.
pub(crate) fn width_of(columns: &[(&str, Align)], rows: &[Vec<String>]) -> usize {
    let widths = widths(columns, rows);
    let shown = widths.iter().filter(|width| **width > 0).count();
    widths.iter().sum::<usize>() + GAP * shown.saturating_sub(1)
}

/// Cuts names, the longest column first, until the table is no wider than `limit` or none can be cut
/// any more. What is told apart by its end, like a path, loses its beginning.
pub(crate) fn squeeze(columns: &[(&str, Align)], rows: &mut [Vec<String>], limit: usize) {
    while let Some(over) = width_of(columns, rows).checked_sub(limit).filter(|over| *over > 0) {
        let widths = widths(columns, rows);
        let names = columns.iter().enumerate().filter(|(_, (_, align))| *align == Align::Left);
        let widest = names.map(|(at, _)| at).max_by_key(|at| widths[*at]);
        let Some(at) = widest.filter(|at| widths[*at] > MIN_NAME) else { return };
        // Never below the next one: then that is cut, too.
        let to = widths[at].saturating_sub(over).max(MIN_NAME);
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(at)) {
            *cell = cut(cell, to);
        }
        if self::widths(columns, rows)[at] == widths[at] {
            return;
        }
    }
}

fn cut(text: &str, to: usize) -> String {
    if width(text) <= to {
        return text.to_owned();
    }
    let is_path = text.contains(['/', '\\']);
    let mut kept = Vec::new();
    let mut room = to.saturating_sub(1);
    let mut fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= room;
        room = room.saturating_sub(width);
        fits
    };
    if is_path {
        kept.extend(text.chars().rev().take_while(&mut fits));
        kept.push('…');
        kept.reverse();
    } else {
        kept.extend(text.chars().take_while(&mut fits));
        kept.push('…');
    }
    kept.into_iter().collect()
}

fn widths(columns: &[(&str, Align)], rows: &[Vec<String>]) -> Vec<usize> {
    let widest = |(at, (name, _)): (usize, &(&str, Align))| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| width(cell)).max().unwrap_or(0).max(width(name))
    };
    columns.iter().enumerate().map(widest).collect()
}

fn line(columns: &[(&str, Align)], row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for ((cell, to), (_, align)) in row.iter().zip(widths).zip(columns) {
        if *to == 0 {
            continue;
        }
        let pad = " ".repeat(to.saturating_sub(width(cell)));
        match align {
            Align::Left | Align::Whole => line.extend([cell.as_str(), &pad]),
            Align::Right => line.extend([pad.as_str(), cell]),
        }
        line.push_str(&" ".repeat(GAP));
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [(&str, Align); 2] = [("name", Align::Left), ("n", Align::Right)];

    fn rows(rows: &[[&str; 2]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect()
    }

    #[test]
    fn tables_align() {
        let text = table(&COLUMNS, &rows(&[["a", "1,000"], ["bcd", "7"]]));
        assert_eq!(text, "name      n\na     1,000\nbcd       7\n");
    }

    #[test]
    fn a_column_without_text_takes_no_room() {
        let columns = [("a", Align::Right), ("", Align::Whole), ("b", Align::Left)];
        let rows = |middle: &str| vec![["1", middle, "2"].map(str::to_owned).to_vec()];
        assert_eq!(table(&columns, &rows("")), "a  b\n1  2\n");
        assert_eq!(width_of(&columns, &rows("")), 4);
        assert_eq!(table(&columns, &rows("+ 3")), "a       b\n1  + 3  2\n");
        assert_eq!(width_of(&columns, &rows("+ 3")), 9);
    }

    #[test]
    fn wide_letters_take_two_places() {
        let text = table(&COLUMNS, &rows(&[["日本語", "1"], ["abcdef", "2"]]));
        assert_eq!(text, "name    n\n日本語  1\nabcdef  2\n");
    }

    #[test]
    fn names_are_cut_where_a_table_is_too_wide() {
        let long = [["/home/ada/projects/engine", "1"], ["a name without a path", "12"]];
        let mut rows = rows(&long);
        squeeze(&COLUMNS, &mut rows, 100);
        assert_eq!(rows[0][0], long[0][0], "there is room");
        squeeze(&COLUMNS, &mut rows, 20);
        assert_eq!(rows[0][0], "…projects/engine");
        assert_eq!(rows[1][0], "a name without …");
        assert_eq!(width_of(&COLUMNS, &rows), 20);
        squeeze(&COLUMNS, &mut rows, 3);
        assert_eq!(width(&rows[0][0]), MIN_NAME, "it stays readable");
        let columns = [("time", Align::Whole), ("n", Align::Right)];
        let mut rows = vec![vec!["2026-05-31 20:00".to_owned(), "1".to_owned()]];
        squeeze(&columns, &mut rows, 3);
        assert_eq!(rows[0][0], "2026-05-31 20:00");
    }
}

//! Columns, aligned as Go's tabwriter does with a least width of 10 and 3 spaces between.

const LEAST_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Aligns lines whose cells are separated by tabs; the last cell of a line ends it.
pub fn align(text: &str) -> String {
    align_to(text, LEAST_WIDTH)
}

/// The same with another least width.
pub fn align_to(text: &str, least: usize) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for cells in &lines {
        for (column, cell) in cells.iter().enumerate().take(cells.len() - 1) {
            if widths.len() <= column {
                widths.push(least);
            }
            widths[column] = widths[column].max(cell.chars().count() + PADDING);
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for cells in &lines {
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < cells.len() {
                out.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_a_least_width_and_three_spaces_between() {
        assert_eq!(
            align("ID\tNAMES\tX\n1234567890123\tab\tcd\n"),
            "ID              NAMES     X\n1234567890123   ab        cd\n"
        );
    }

    #[test]
    fn one_column_is_left_alone() {
        assert_eq!(align("A\nbbb\n"), "A\nbbb\n");
    }
}

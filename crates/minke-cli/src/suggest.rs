//! What was perhaps meant by a mistyped word.

/// The known words that differ from `typed` by at most two edits, or begin with it; nearest first.
pub fn similar<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<(usize, &str)> = known
        .map(|word| (distance(typed, word), word))
        .filter(|(edits, word)| {
            (*edits <= 2 && *edits < word.chars().count()) || (typed.len() > 1 && word.starts_with(typed))
        })
        .collect();
    found.sort();
    found.dedup();
    let nearest = found.first().map_or(0, |(edits, _)| *edits);
    found.retain(|(edits, word)| *edits == nearest || word.starts_with(typed));
    found.into_iter().take(3).map(|(_, word)| word.to_string()).collect()
}

/// The least number of characters inserted, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_its_neighbours() {
        let known = ["run", "rm", "rmi", "restart", "images"];
        assert_eq!(similar("rnu", known.into_iter()), ["run"]);
        assert_eq!(similar("image", known.into_iter()), ["images"]);
        assert_eq!(similar("resta", known.into_iter()), ["restart"]);
        assert!(similar("foobar", known.into_iter()).is_empty());
    }
}

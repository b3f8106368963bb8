//! Advice for a name that is not known: the nearest one that is.

/// Advice for a name that is not among `names`: the nearest, or all of them when they are few.
pub fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let names: Vec<_> = names.collect();
    let near = names
        .iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min();
    match near {
        Some((_, candidate)) => Some(format!("did you mean `{candidate}`?")),
        None if names.is_empty() || names.len() > 16 => None,
        None => Some(format!("known here: `{}`", names.join("`, `"))),
    }
}

/// How many insertions, deletions, replacements and swaps of neighbors lead from one text to the
/// other (optimal string alignment), ignoring case and the difference of `-` and `_`.
#[must_use]
pub fn distance(left: &str, right: &str) -> usize {
    let fold = |text: &str| text.to_ascii_lowercase().replace('-', "_").into_bytes();
    let (left, right) = (fold(left), fold(right));
    let mut before = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replaced = last[j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            let swapped =
                i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            if swapped {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let names = ["listen", "admin_listen", "data_dir"];
        let check = |name: &str| nearest(name, names.into_iter()).unwrap();
        assert_eq!(check("lisen"), "did you mean `listen`?");
        assert_eq!(check("listne"), "did you mean `listen`?");
        assert_eq!(check("DATA-DIR"), "did you mean `data_dir`?");
        assert_eq!(
            check("zebra"),
            "known here: `listen`, `admin_listen`, `data_dir`"
        );
    }
}

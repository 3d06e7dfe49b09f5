//! A large request in parts that run one after the other, or side by side: others get their turn in between, and a caller
//! that goes away is noticed. Pure.

use headland_nn_core::Padding;

use crate::policy::Policy;

/// Parts smaller than this, in cells, are not worth spreading over several executors.
const CELLS_MIN: usize = 128;

/// The rows of each part, by position, for a request whose rows are of these `lengths`. One part when nothing is to be
/// gained.
///
/// Every part keeps to the policy's bounds, unless one row alone exceeds them. Rows of like length go together where
/// padding costs something. Where there are several executors, there are as many parts, if they are large enough.
pub(crate) fn plan(lengths: &[usize], policy: &Policy, executors: usize) -> Vec<Vec<usize>> {
    let total: usize = lengths.iter().sum();
    let cells_max = total.div_ceil(executors.max(1)).max(CELLS_MIN).min(policy.cells_max);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    if policy.padding == Padding::Computed {
        order.sort_by_key(|&row| std::cmp::Reverse(lengths[row]));
    }
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let (mut cells, mut longest) = (0usize, 0usize);
    for row in order {
        let part = parts.last_mut().filter(|part| part.len() < policy.rows_max);
        let with = longest.max(lengths[row]);
        let grown = match (&part, policy.padding) {
            (Some(part), Padding::Computed) => with.saturating_mul(part.len() + 1),
            _ => cells.saturating_add(lengths[row]),
        };
        match part.filter(|_| grown <= cells_max) {
            Some(part) => {
                part.push(row);
                (cells, longest) = (grown, with);
            }
            None => {
                parts.push(vec![row]);
                (cells, longest) = (lengths[row], lengths[row]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(rows_max: usize, cells_max: usize, padding: Padding) -> Policy {
        Policy { rows_max, cells_max, padding, ..Policy::single() }
    }

    #[test]
    fn short_texts_are_spread_over_the_executors_and_few_are_not() {
        let policy = policy(64, 4096, Padding::Skipped);
        assert_eq!(plan(&[13; 32], &policy, 2).iter().map(Vec::len).collect::<Vec<_>>(), [16, 16]);
        assert_eq!(plan(&[13; 5], &policy, 2), [[0, 1, 2, 3, 4]]);
        assert_eq!(plan(&[512; 2048], &policy, 2).len(), 256);
    }

    #[test]
    fn rows_of_like_length_go_together_where_padding_is_computed() {
        let parts = plan(&[5, 200, 7, 190], &policy(2, 4096, Padding::Computed), 1);
        assert_eq!(parts, [[1, 3], [2, 0]]);
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_part_and_every_part_is_bounded(
            lengths in prop::collection::vec(1usize..600, 1..200),
            rows_max in 1usize..70,
            cells_max in 1usize..5000,
            executors in 1usize..5,
            skipped in any::<bool>(),
        ) {
            let padding = if skipped { Padding::Skipped } else { Padding::Computed };
            let parts = plan(&lengths, &policy(rows_max, cells_max, padding), executors);
            let mut rows: Vec<usize> = parts.concat();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
            for part in parts {
                let longest = part.iter().map(|&row| lengths[row]).max().unwrap();
                let sum: usize = part.iter().map(|&row| lengths[row]).sum();
                let cells = if skipped { sum } else { longest * part.len() };
                prop_assert!(part.len() <= rows_max && (cells <= cells_max || part.len() == 1));
            }
        }
    }
}

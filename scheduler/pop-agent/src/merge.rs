//! Two sides that both change, and what they last agreed on: what each has to take over from the other. Pure.
//!
//! One side is the registry of this machine, to which people push; the other is the fleet's records. What they agreed on tells
//! a thing that is new on one side from one that was removed on the other.

use std::collections::{BTreeMap, BTreeSet};

/// What is to be done about one thing so that both sides agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<V> {
    /// The fleet takes over what is here.
    Tell(V),
    /// The fleet forgets it.
    Retract,
    /// What the fleet has comes here.
    Take(V),
    /// It goes away here.
    Drop,
    /// Both agree, and did not know it.
    Agree(V),
    /// It is gone on both sides.
    Forget,
}

/// What is to be done about each thing on which `here`, `fleet` and `agreed` are not one. Where both sides changed, the fleet's
/// word counts.
pub fn merge<K: Clone + Ord, V: Clone + Eq>(
    agreed: &BTreeMap<K, V>,
    here: &BTreeMap<K, V>,
    fleet: &BTreeMap<K, V>,
) -> Vec<(K, Step<V>)> {
    let keys: BTreeSet<&K> = agreed.keys().chain(here.keys()).chain(fleet.keys()).collect();
    let step = |key: &K| match (agreed.get(key), here.get(key), fleet.get(key)) {
        (None, None, None) => None,
        (Some(_), None, None) => Some(Step::Forget),
        (agreed, Some(here), Some(fleet)) if here == fleet => (agreed != Some(here)).then(|| Step::Agree(here.clone())),
        // The fleet has not changed, so this side has.
        (Some(agreed), Some(here), Some(fleet)) if agreed == fleet => Some(Step::Tell(here.clone())),
        (_, Some(_), Some(fleet)) => Some(Step::Take(fleet.clone())),
        (None, Some(here), None) => Some(Step::Tell(here.clone())),
        (None, None, Some(fleet)) => Some(Step::Take(fleet.clone())),
        // It was changed here and removed there, or only removed there.
        (Some(_), Some(_), None) => Some(Step::Drop),
        (Some(agreed), None, Some(fleet)) if agreed == fleet => Some(Step::Retract),
        (Some(_), None, Some(fleet)) => Some(Step::Take(fleet.clone())),
    };
    keys.into_iter().filter_map(|key| Some((key.clone(), step(key)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(value: Option<u8>) -> BTreeMap<&'static str, u8> {
        value.map(|value| ("m", value)).into_iter().collect()
    }

    fn step(agreed: Option<u8>, here: Option<u8>, fleet: Option<u8>) -> Option<Step<u8>> {
        merge(&one(agreed), &one(here), &one(fleet)).pop().map(|(_, step)| step)
    }

    #[test]
    fn what_is_new_is_told_and_taken_and_what_was_removed_is_removed() {
        assert_eq!(step(None, Some(1), None), Some(Step::Tell(1)), "pushed here");
        assert_eq!(step(None, None, Some(1)), Some(Step::Take(1)), "pushed elsewhere");
        assert_eq!(step(Some(1), None, Some(1)), Some(Step::Retract), "removed here");
        assert_eq!(step(Some(1), Some(1), None), Some(Step::Drop), "removed elsewhere");
        assert_eq!(step(Some(1), Some(2), Some(1)), Some(Step::Tell(2)), "changed here");
        assert_eq!(step(Some(1), Some(1), Some(2)), Some(Step::Take(2)), "changed elsewhere");
        assert_eq!(step(Some(1), Some(2), Some(3)), Some(Step::Take(3)), "changed on both sides");
        assert_eq!(step(Some(1), Some(1), Some(1)), None);
    }

    proptest! {
        #[test]
        fn doing_what_is_said_makes_both_sides_one(
            agreed in proptest::collection::btree_map(0u8..6, 0u8..3, 0..6),
            here in proptest::collection::btree_map(0u8..6, 0u8..3, 0..6),
            fleet in proptest::collection::btree_map(0u8..6, 0u8..3, 0..6),
        ) {
            let (mut agreed_then, mut here_then, mut fleet_then) = (agreed.clone(), here.clone(), fleet.clone());
            for (key, step) in merge(&agreed, &here, &fleet) {
                let value = match step {
                    Step::Tell(value) | Step::Take(value) | Step::Agree(value) => Some(value),
                    Step::Retract | Step::Drop | Step::Forget => None,
                };
                for side in [&mut agreed_then, &mut here_then, &mut fleet_then] {
                    match value {
                        Some(value) => drop(side.insert(key, value)),
                        None => drop(side.remove(&key)),
                    }
                }
            }
            prop_assert_eq!(&here_then, &fleet_then);
            prop_assert_eq!(&here_then, &agreed_then);
            prop_assert!(merge(&agreed_then, &here_then, &fleet_then).is_empty());
        }
    }
}

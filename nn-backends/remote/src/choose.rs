//! Which of the PoPs that have a model is asked next: a pure function of what is known of each.
//!
//! The plan's shares say how a region's requests are to be spread. Live load corrects them within bounds: two candidates are
//! drawn by their shares, and the one that would cost less is asked ("the power of two choices", Mitzenmacher 2001). So a
//! candidate never gets more than twice its share, however fast it looks, and a slow one keeps the square of it, by which one
//! learns when it is fast again. Who refused for lack of room, who fails, who cannot be reached: each stands behind those of
//! whom nothing bad is known, and is asked when there is nobody else.

/// What is known of a candidate now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The part of the requests that the plan has for it; 0 for one that only stands by.
    pub share: f64,
    /// Whether it can be asked.
    pub standing: Standing,
    /// What a request to it would cost: the time it takes now, times those that wait for it.
    pub cost: f64,
}

/// Whether a candidate can be asked. The better, the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing speaks against it.
    Ready,
    /// The first connection to it is being made.
    Connecting,
    /// It said a moment ago that it has too much to do.
    Busy,
    /// It failed several times in a row, a moment ago.
    Ejected,
    /// There is no connection to it.
    Down,
    /// As many of our requests are on their way as may be: it cannot be asked.
    Full,
}

/// The candidate to ask: none of those `tried`, none that is full. `draws` are two numbers from 0 to 1.
pub fn choose(views: &[View], tried: &[bool], draws: [f64; 2]) -> Option<usize> {
    let open = |at: &usize| !tried.get(*at).copied().unwrap_or(false) && views[*at].standing != Standing::Full;
    let rank = |at: usize| (views[at].standing, views[at].share <= 0.0);
    let best = (0..views.len()).filter(open).map(rank).min()?;
    let of_rank: Vec<usize> = (0..views.len()).filter(open).filter(|&at| rank(at) == best).collect();
    if best.1 {
        // Those that stand by are asked in the plan's order.
        return of_rank.first().copied();
    }
    let [first, second] = draws.map(|draw| by_share(views, &of_rank, draw));
    Some(if views[second].cost < views[first].cost { second } else { first })
}

/// Draws one of `among`, each as likely as its share.
fn by_share(views: &[View], among: &[usize], draw: f64) -> usize {
    let total: f64 = among.iter().map(|&at| views[at].share).sum();
    let mut left = draw * total;
    for &at in among {
        left -= views[at].share;
        if left < 0.0 {
            return at;
        }
    }
    // Rounding, or a draw of exactly 1.
    among.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view(share: f64, standing: Standing, cost: f64) -> View {
        View { share, standing, cost }
    }

    fn any_standing() -> impl Strategy<Value = Standing> {
        use Standing::{Busy, Connecting, Down, Ejected, Full, Ready};
        prop_oneof![Just(Ready), Just(Connecting), Just(Busy), Just(Ejected), Just(Down), Just(Full)]
    }

    fn any_views() -> impl Strategy<Value = Vec<(View, bool)>> {
        let share = prop_oneof![Just(0.0), 0.001f64..1.0];
        let view = (share, any_standing(), 0f64..1e6).prop_map(|(share, standing, cost)| view(share, standing, cost));
        proptest::collection::vec((view, any::<bool>()), 0..8)
    }

    /// How often each is chosen, over a grid of draws.
    fn frequencies(views: &[View]) -> Vec<f64> {
        const STEPS: usize = 200;
        let mut counts = vec![0usize; views.len()];
        for first in 0..STEPS {
            for second in 0..STEPS {
                let draws = [first, second].map(|step| (step as f64 + 0.5) / STEPS as f64);
                counts[choose(views, &vec![false; views.len()], draws).unwrap()] += 1;
            }
        }
        counts.into_iter().map(|count| count as f64 / (STEPS * STEPS) as f64).collect()
    }

    proptest! {
        #[test]
        fn whoever_is_chosen_is_open_and_of_the_best_standing(views in any_views(), draws in [0f64..=1.0, 0f64..=1.0]) {
            let (views, tried): (Vec<_>, Vec<_>) = views.into_iter().unzip();
            let open = |at: &usize| !tried[*at] && views[*at].standing != Standing::Full;
            match choose(&views, &tried, draws) {
                None => prop_assert_eq!((0..views.len()).filter(open).count(), 0),
                Some(at) => {
                    prop_assert!(open(&at));
                    for other in (0..views.len()).filter(open) {
                        prop_assert!(views[at].standing <= views[other].standing);
                        if views[at].standing == views[other].standing && views[at].share == 0.0 {
                            prop_assert!(views[other].share == 0.0 && at <= other, "a stand-by before its turn");
                        }
                    }
                }
            }
        }

        #[test]
        fn shares_bound_what_load_may_change(
            candidates in proptest::collection::vec((0.05f64..1.0, 1f64..100.0), 1..6),
        ) {
            let views: Vec<View> =
                candidates.iter().map(|&(share, cost)| view(share, Standing::Ready, cost)).collect();
            let total: f64 = views.iter().map(|view| view.share).sum();
            for (view, frequency) in views.iter().zip(frequencies(&views)) {
                let share = view.share / total;
                prop_assert!(frequency <= 2.0 * share + 0.02, "{frequency} of {share}");
                prop_assert!(frequency >= share * share - 0.02, "{frequency} of {share}");
            }
        }

        #[test]
        fn equal_costs_leave_the_plans_shares(shares in proptest::collection::vec(0.05f64..1.0, 1..6)) {
            let views: Vec<View> = shares.iter().map(|&share| view(share, Standing::Ready, 1.0)).collect();
            let total: f64 = shares.iter().sum();
            for (share, frequency) in shares.iter().zip(frequencies(&views)) {
                prop_assert!((frequency - share / total).abs() < 0.02);
            }
        }
    }

    #[test]
    fn the_cheaper_of_two_equals_gets_three_quarters() {
        let views = [view(0.5, Standing::Ready, 9.0), view(0.5, Standing::Ready, 1.0)];
        let frequencies = frequencies(&views);
        assert!((frequencies[1] - 0.75).abs() < 0.01, "{frequencies:?}");
    }

    #[test]
    fn who_stands_by_is_asked_before_who_is_busy_and_after_who_is_ready() {
        let standby = view(0.0, Standing::Ready, 1.0);
        let of = |standing| [view(1.0, standing, 1.0), standby];
        assert_eq!(choose(&of(Standing::Ready), &[false, false], [0.5; 2]), Some(0));
        assert_eq!(choose(&of(Standing::Ready), &[true, false], [0.5; 2]), Some(1));
        assert_eq!(choose(&of(Standing::Busy), &[false, false], [0.5; 2]), Some(1));
        assert_eq!(choose(&of(Standing::Down), &[false, true], [0.5; 2]), Some(0), "better than nobody");
        assert_eq!(choose(&of(Standing::Full), &[false, true], [0.5; 2]), None);
    }
}

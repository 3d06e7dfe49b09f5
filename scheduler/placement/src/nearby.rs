//! Where devices stand, the nearest first, as seen from each place: the last phase looks for what is near and stops early.

use std::cell::OnceCell;

use crate::problem::{Group, Problem};

/// Sites that are put in their order: nearly always what is looked for is among them.
const SORTED: usize = 24;

/// The places that have groups of devices, by their distance from each place. A place is sorted when it is first asked for.
pub(crate) struct Nearby {
    /// By group.
    site: Vec<u32>,
    /// By site: one of its groups. They are all as far away.
    group: Vec<u32>,
    /// By place.
    order: Vec<OnceCell<Box<[Site]>>>,
}

/// A place that has groups of devices.
#[derive(Clone, Copy)]
pub(crate) struct Site {
    /// Its round trip.
    pub network_ms: f64,
    pub at: u32,
}

impl Nearby {
    pub fn new(places: usize, groups: &[Group]) -> Self {
        const NONE: u32 = u32::MAX;
        let mut site_of = vec![NONE; places];
        let mut group = Vec::new();
        let site = (0..).zip(groups).map(|(at, entry)| {
            let site = &mut site_of[entry.place as usize];
            if *site == NONE {
                *site = group.len() as u32;
                group.push(at);
            }
            *site
        });
        let site = site.collect();
        Self { site, group, order: vec![OnceCell::new(); places] }
    }

    /// How many sites there are.
    pub fn sites(&self) -> usize {
        self.group.len()
    }

    /// The site of a group.
    pub fn site(&self, group: u32) -> u32 {
        self.site[group as usize]
    }

    /// The sites that are nearest, in their order, and those farther away, in none.
    pub fn from(&self, problem: &Problem<'_>, place: u32) -> (&[Site], &[Site]) {
        let sites = self.order[place as usize].get_or_init(|| {
            let row = problem.network_from(place);
            let site = |(at, &group): (u32, &u32)| Site { network_ms: row[group as usize], at };
            let mut sites: Box<[Site]> = (0..).zip(&self.group).map(site).collect();
            let by_distance = |a: &Site, b: &Site| a.network_ms.total_cmp(&b.network_ms).then(a.at.cmp(&b.at));
            if sites.len() > SORTED {
                sites.select_nth_unstable_by(SORTED, by_distance);
            }
            let sorted = sites.len().min(SORTED);
            sites[..sorted].sort_unstable_by(by_distance);
            sites
        });
        sites.split_at(sites.len().min(SORTED))
    }
}

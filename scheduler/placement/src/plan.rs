//! What a solve decides: which device holds which model, and where requests go.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
use crate::ids::{DeviceIndex, ModelKey, PlaceId, PopId};
use crate::input::Loaded;

/// A placement for all models. What a re-solve left alone is shared with the plan before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// One for each model of the input, in the order of their keys.
    pub models: Vec<Arc<ModelPlan>>,
    /// What the plan was made for, and what proves how good it is. A plan made by hand has none: then the next solve
    /// looks at everything anew.
    #[serde(default)]
    pub certificate: Option<Arc<Certificate>>,
}

/// Where one model is and who asks it there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPlan {
    /// The model.
    pub model: ModelKey,
    /// Where it is to be loaded, in the order of PoPs and devices.
    pub replicas: Vec<Replica>,
    /// Where each place with demand sends it, in the order of the input's places.
    pub routes: Vec<Route>,
    /// What its minimum asks for and the plan could not give.
    #[serde(default)]
    pub shortfall: Shortfall,
    /// What it adds to the objective, loads apart: those depend on what was there before.
    pub cost: Cost,
}

/// A model on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// The PoP.
    pub pop: PopId,
    /// The device of the PoP.
    pub device: DeviceIndex,
    /// Requests planned for it.
    pub requests_per_s: f64,
    /// Why it is there.
    pub because: Because,
}

/// Why a replica is where it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// Without it, requests would wait so much longer, in the objective's unit; most of them come from one place.
    Demand {
        /// What it saves.
        saves: f64,
        /// Where most of its requests come from.
        place: PlaceId,
    },
    /// The model's smallest number of replicas asks for it.
    Minimum,
    /// The model's smallest number of failure domains asks for it.
    FailureDomains,
    /// It shares the load of others near it, or is there already and not worth moving.
    Kept,
}

/// Where a place sends its requests for a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The place.
    pub place: PlaceId,
    /// The demand that was planned for.
    pub requests_per_s: f64,
    /// Replicas in the order they are to be tried, with the share of the requests that each gets. A share of zero is only
    /// a next candidate. What the shares lack to 1 found no capacity.
    pub to: Vec<Share>,
}

/// A replica's share of a place's requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Position among the model's replicas.
    pub replica: u32,
    /// Part of the requests, 0 to 1.
    pub share: f64,
}

/// What a model's minimum asks for and the plan lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shortfall {
    /// Replicas.
    pub replicas: u32,
    /// Failure domains.
    pub domains: u32,
}

impl Shortfall {
    /// Whether nothing is missing.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// The objective in its parts, in milliseconds waited in each second (see [`crate::Options`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// On the network.
    pub network: f64,
    /// In runs and in queues for them, with the penalty for a CPU where an accelerator is preferred.
    pub compute: f64,
    /// By requests that no replica is planned for.
    pub fallback: f64,
    /// The price of the memory held.
    pub holding: f64,
    /// The price of what has to be loaded.
    pub loading: f64,
    /// The price of missing replicas and failure domains.
    pub shortfall: f64,
}

impl Cost {
    /// All parts together.
    pub fn total(&self) -> f64 {
        self.network + self.compute + self.fallback + self.holding + self.loading + self.shortfall
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.network += other.network;
        self.compute += other.compute;
        self.fallback += other.fallback;
        self.holding += other.holding;
        self.loading += other.loading;
        self.shortfall += other.shortfall;
    }
}

impl Plan {
    /// What is planned for a model.
    pub fn model(&self, key: &ModelKey) -> Option<&ModelPlan> {
        self.models.binary_search_by(|plan| plan.model.cmp(key)).ok().map(|at| &*self.models[at])
    }

    /// Everything that is to be loaded, model by model.
    pub fn replicas(&self) -> impl Iterator<Item = Loaded> {
        self.models.iter().flat_map(|plan| plan.loaded())
    }

    /// The objective, loads apart.
    pub fn cost(&self) -> Cost {
        let mut cost = Cost::default();
        self.models.iter().for_each(|plan| cost += plan.cost);
        cost
    }
}

impl ModelPlan {
    /// Its replicas as what is to be loaded.
    pub fn loaded(&self) -> impl Iterator<Item = Loaded> {
        self.replicas.iter().map(|replica| Loaded {
            model: self.model.clone(),
            pop: replica.pop.clone(),
            device: replica.device,
        })
    }

    /// Where a place is to send its requests, in the order they are to be tried, with their shares.
    pub fn targets(&self, place: &PlaceId) -> impl Iterator<Item = (&Replica, f64)> {
        let route = self.routes.iter().find(|route| &route.place == place);
        let shares = route.map_or(&[][..], |route| &route.to);
        shares.iter().filter_map(|share| Some((self.replicas.get(share.replica as usize)?, share.share)))
    }
}

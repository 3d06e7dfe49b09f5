//! Leader election: one task for each candidate, which does what [`campaign`] decides.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::key::Key;
use crate::store::{Epoch, Holder, Leases};

pub mod campaign;

use campaign::{Action, Campaign, Observation, Timing};

/// What a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Another one leads, or nobody does yet.
    Standby,
    /// It leads, and marks what it writes with the epoch.
    Leader {
        /// Greater than that of every leader before.
        epoch: Epoch,
    },
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standby => f.write_str("standby"),
            Self::Leader { epoch } => write!(f, "leader of epoch {epoch}"),
        }
    }
}

/// A candidate that campaigns until it is stopped. Dropping it steps down too, in the background.
pub struct Election {
    leadership: Leadership,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// The epoch that is led in, and until when that is certain.
type Certain = Mutex<Option<(Epoch, Instant)>>;

/// Whether a candidate leads. Cheap to clone.
#[derive(Clone)]
pub struct Leadership {
    role: watch::Receiver<Role>,
    /// None where somebody else than an election says who leads.
    tenure: Option<Arc<Certain>>,
}

impl Leadership {
    /// That of whoever is told its role, and believes it.
    pub fn told(role: watch::Receiver<Role>) -> Self {
        Self { role, tenure: None }
    }

    /// What the candidate is, and whenever that changes. It changes back to standby before another one can lead, as long as
    /// the runtime gets to it in time; whoever is about to write asks [`leads`](Self::leads), which looks at the clock.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// The epoch to write in, if at this instant we lead.
    pub fn leads(&self) -> Option<Epoch> {
        let Some(tenure) = &self.tenure else {
            return match *self.role.borrow() {
                Role::Leader { epoch } => Some(epoch),
                Role::Standby => None,
            };
        };
        let tenure = *tenure.lock().unwrap_or_else(PoisonError::into_inner);
        tenure.filter(|(_, until)| Instant::now() < *until).map(|(epoch, _)| epoch)
    }
}

impl Election {
    /// Begins to campaign for the lease `name`, by the store's time to live.
    pub fn start(store: Arc<dyn Leases>, name: Key, holder: Holder) -> Self {
        let timing = Timing::of(store.lease_ttl());
        let (told, role) = watch::channel(Role::Standby);
        let (stop, stopped) = watch::channel(false);
        let tenure = Arc::<Certain>::default();
        let candidate = Candidate {
            campaign: Campaign::new(timing, Duration::ZERO),
            store,
            name,
            holder,
            begun: Instant::now(),
            told,
            tenure: Arc::clone(&tenure),
            stopped,
        };
        let leadership = Leadership { role, tenure: Some(tenure) };
        Self { leadership, stop, task: tokio::spawn(candidate.run()) }
    }

    /// What the candidate is, as [`Leadership::role`] says.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.leadership.role()
    }

    /// The epoch to write in, if at this instant we lead.
    pub fn leads(&self) -> Option<Epoch> {
        self.leadership.leads()
    }

    /// Whether it leads, for whoever is to know.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Steps down and gives the lease up, so that a standby takes over at once. To be called when nothing is written any more.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // It ends by itself; a panic in it has been reported where it happened.
        let _ = self.task.await;
    }
}

struct Candidate {
    campaign: Campaign,
    store: Arc<dyn Leases>,
    name: Key,
    holder: Holder,
    /// What the campaign's times count from.
    begun: Instant,
    told: watch::Sender<Role>,
    tenure: Arc<Certain>,
    stopped: watch::Receiver<bool>,
}

impl Candidate {
    async fn run(mut self) {
        let mut observation = Observation::Tick;
        while !self.is_stopped() {
            let action = self.campaign.step(observation, self.begun.elapsed());
            self.tell();
            observation = match action {
                Action::Acquire => self.acquire().await,
                Action::Renew { lease, until } => self.renew(lease, until).await,
                Action::Wait(until) => {
                    tokio::select! {
                        () = sleep_until(self.begun + until) => {}
                        _ = self.stopped.changed() => {}
                    }
                    Observation::Tick
                }
            };
        }
        // An answer that came with the end.
        self.campaign.step(observation, self.begun.elapsed());
        self.be(None);
        if let Some(lease) = self.campaign.end()
            && let Err(error) = self.store.release(&lease).await
        {
            tracing::warn!(lease = %self.name, %error, "could not give the lease up; others wait for its end");
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
    }

    async fn acquire(&self) -> Observation {
        let asked = self.begun.elapsed();
        match self.store.acquire(&self.name, &self.holder).await {
            Ok(Some(lease)) => Observation::Acquired { lease, asked },
            Ok(None) => Observation::Taken,
            Err(error) => {
                tracing::debug!(lease = %self.name, %error, "could not campaign");
                Observation::Failed
            }
        }
    }

    async fn renew(&self, lease: crate::store::Lease, until: Duration) -> Observation {
        let asked = self.begun.elapsed();
        match timeout_at(self.begun + until, self.store.renew(&lease)).await {
            Ok(Ok(Some(lease))) => Observation::Renewed { lease, asked },
            Ok(Ok(None)) => Observation::Lost,
            Ok(Err(error)) => {
                tracing::warn!(lease = %self.name, %error, "could not prolong the lease");
                Observation::Failed
            }
            Err(_) => Observation::Failed,
        }
    }

    fn tell(&self) {
        self.be(self.campaign.leads(self.begun.elapsed()));
    }

    fn be(&self, tenure: Option<(Epoch, Duration)>) {
        let until = tenure.map(|(epoch, until)| (epoch, self.begun + until));
        *self.tenure.lock().unwrap_or_else(PoisonError::into_inner) = until;
        let role = tenure.map_or(Role::Standby, |(epoch, _)| Role::Leader { epoch });
        self.told.send_if_modified(|told| {
            let changed = *told != role;
            if changed {
                tracing::info!(lease = %self.name, holder = self.holder.as_str(), "{told} -> {role}");
                *told = role;
            }
            changed
        });
    }
}

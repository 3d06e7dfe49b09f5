//! One load, from the listing to the table.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use headland_batcher::{Call, Model};
use headland_nn_core::{Device, Dim, NamedTensor, NnError, Signature, Tensor};
use headland_registry::store::Reference;
use headland_trust::{Policy, Verified};

use super::budget::{self, Candidate, Reservation, Shortage};
use super::build::Plan;
use super::catalog::Stored;
use super::{Key, Loaded, ModelControl, ServeOptions, blocking, lock, open};
use crate::LifecycleError;
use headland_trust::chain;

/// How long a load waits for the memory of models that were put out for it, and are still answering.
pub const ROOM_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the first run, before anybody asks, may take.
pub const WARM_UP_MAX: Duration = Duration::from_secs(30);

impl ModelControl {
    pub(super) async fn run_load(
        &self,
        stored: Stored,
        exact: bool,
        device: Option<Device>,
    ) -> Result<Arc<Model>, LifecycleError> {
        let parts = &self.0.parts;
        let Ok(_permit) = self.0.running.acquire().await else { return Err(LifecycleError::Busy(0)) };
        let started = Instant::now();
        let policy = parts.policy.borrow().clone().ok_or(LifecycleError::NoPolicy)?;
        let (stored, plan) = self.verify(stored, policy.clone(), device).await?;
        let verified = Instant::now();
        self.check_place(&plan)?;
        let reservation = self.make_room(&stored, plan.get().device, plan.get().memory_bytes()).await?;
        let reservation = Arc::new(reservation);
        let memory = Arc::downgrade(&reservation);
        let (stored, model) = self.build(stored, plan, reservation).await?;
        let built = Instant::now();
        warm_up(model.get()).await;
        let evidence = model.evidence().to_string();
        let loaded = model.get().clone();
        let key = (stored.name.clone(), stored.version.clone());
        let mut judged_by = policy;
        while let Some(other) = self.publish(&stored, &model, exact, &memory, &judged_by).await? {
            self.judge_again(&key, stored.manifest, loaded.device(), other.clone()).await?;
            judged_by = other;
        }
        tracing::info!(
            model = %stored.name,
            version = %stored.version,
            backend = &*loaded.info().backend,
            device = %loaded.device(),
            memory_bytes = loaded.memory_bytes(),
            verify_ms = (verified - started).as_millis(),
            build_ms = (built - verified).as_millis(),
            warm_up_ms = built.elapsed().as_millis(),
            "model loaded; {evidence}"
        );
        Ok(loaded)
    }

    async fn verify(
        &self,
        stored: Stored,
        policy: Arc<Policy>,
        device: Option<Device>,
    ) -> Result<(Stored, Verified<Plan>), LifecycleError> {
        let store = self.0.parts.store.clone();
        blocking(move || {
            let files = open::open(&store, &stored, &policy)?;
            let plan = files.try_map(|files| Plan::of(files, &ServeOptions { device, ..ServeOptions::default() }));
            let plan = plan.map_err(|error| LifecycleError::Broken(chain(&error)))?;
            Ok((stored, plan))
        })
        .await
    }

    /// Whether the policy lets it run on its device, and here.
    fn check_place(&self, plan: &Verified<Plan>) -> Result<(), LifecycleError> {
        let (evidence, device) = (plan.evidence(), plan.get().device);
        if !evidence.allows_device(&device.to_string()) {
            let problem = format!("it would run on {device}, where the policy does not let it run; {evidence}");
            return Err(LifecycleError::NotHere(problem));
        }
        let region = self.0.parts.region.as_deref().unwrap_or_default();
        if !evidence.allows_region(region) {
            let here =
                if region.is_empty() { "this gateway, which has no region".to_owned() } else { region.to_owned() };
            return Err(LifecycleError::NotHere(format!("the policy does not let it run in {here}; {evidence}")));
        }
        Ok(())
    }

    /// Sets memory aside, putting out models that nobody uses if need be.
    async fn make_room(&self, stored: &Stored, device: Device, bytes: u64) -> Result<Reservation, LifecycleError> {
        let budget = self.budget();
        let deadline = Instant::now() + ROOM_WAIT_MAX;
        // The memory of models that are out of the table and still answering.
        let mut going: Vec<Weak<Reservation>> = Vec::new();
        loop {
            let freed = budget.freed();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let shortage = match budget.reserve(device, bytes) {
                Ok(reservation) => return Ok(reservation),
                Err(shortage) => shortage,
            };
            let no_memory = |advice| LifecycleError::NoMemory {
                model: format!("model `{}:{}`", stored.name, stored.version),
                shortage,
                advice,
            };
            if shortage.is_hopeless() {
                return Err(no_memory("give models more memory on this device"));
            }
            going.retain(|memory| memory.strong_count() > 0);
            if going.is_empty() {
                going =
                    self.evict(&shortage).ok_or_else(|| no_memory("unload a model, or try again when one is idle"))?;
            }
            if tokio::time::timeout_at(deadline.into(), freed).await.is_err() {
                return Err(no_memory("the models that were put out for it are still answering requests; try again"));
            }
        }
    }

    /// Puts idle models out until the shortage would be over; the memory that comes free with them. `None` when that
    /// cannot be.
    fn evict(&self, shortage: &Shortage) -> Option<Vec<Weak<Reservation>>> {
        // Held throughout: two loads that look for room do not take each other's look for use.
        let mut loaded = lock(&self.0.loaded);
        let models: Vec<Arc<Model>> =
            self.0.parts.table.all().into_iter().filter(|model| model.device() == shortage.device).collect();
        let candidate = |model: &Arc<Model>| {
            let info = model.info();
            let ours = loaded.contains_key(&(info.name.clone(), info.version.clone()));
            // The table's and the one in hand.
            let in_use = Arc::strong_count(model) > 2;
            Candidate { bytes: model.memory_bytes(), idle: model.idle(), stays: !ours || in_use }
        };
        let candidates: Vec<Candidate> = models.iter().map(candidate).collect();
        let chosen = budget::choose(shortage.missing(), &candidates)?;
        let put_out = chosen.into_iter().filter_map(|index| {
            let (model, idle_s) = (&models[index], candidates[index].idle.as_secs());
            tracing::info!(model = %model.info(), idle_s, "put out to make room");
            self.take_out_of(&mut loaded, model).map(|entry| entry.memory)
        });
        Some(put_out.collect())
    }

    async fn build(
        &self,
        stored: Stored,
        plan: Verified<Plan>,
        reservation: Arc<Reservation>,
    ) -> Result<(Stored, Verified<Arc<Model>>), LifecycleError> {
        let backends = self.0.parts.backends.clone();
        blocking(move || {
            let (name, version, digest) = (stored.name.clone(), stored.version.clone(), stored.digest());
            let model = plan.try_map(|plan| plan.build(name, version, digest, &*backends, reservation).map(Arc::new));
            let model = model.map_err(|error| LifecycleError::Broken(chain(&error)))?;
            Ok((stored, model))
        })
        .await
    }

    /// Puts the model into the table. Another policy that is in force by now comes back instead, to be asked first.
    async fn publish(
        &self,
        stored: &Stored,
        model: &Verified<Arc<Model>>,
        exact: bool,
        memory: &Weak<Reservation>,
        judged_by: &Arc<Policy>,
    ) -> Result<Option<Arc<Policy>>, LifecycleError> {
        let (control, memory, judged_by) = (self.clone(), memory.clone(), judged_by.clone());
        let (stored, model) = (stored.clone(), model.clone());
        blocking(move || {
            let parts = &control.0.parts;
            let key = (stored.name.clone(), stored.version.clone());
            // Held until all is done, so that whoever changes the policy or removes a version finds it among the loaded ones.
            let mut loaded = lock(&control.0.loaded);
            let in_force = parts.policy.borrow().clone().ok_or(LifecycleError::NoPolicy)?;
            if !Arc::ptr_eq(&in_force, &judged_by) {
                return Ok(Some(in_force));
            }
            if parts.store.manifest(&stored.repository, &Reference::Digest(stored.manifest))?.is_none() {
                let problem = format!("model `{}:{}` was removed while it was being loaded", key.0, key.1);
                return Err(LifecycleError::NotFound(problem));
            }
            control.refuse_to_replace_a_folder(&loaded, &key)?;
            let exact = exact || loaded.get(&key).is_some_and(|before| before.exact);
            loaded.insert(key, Loaded { manifest: stored.manifest, exact, memory });
            // A model of the same version ends when its last request is answered.
            parts.table.insert(model);
            Ok(None)
        })
        .await
    }

    /// What the operator named at the start stays, whatever the registry has under its name and version.
    pub(super) fn refuse_to_replace_a_folder(
        &self,
        loaded: &BTreeMap<Key, Loaded>,
        key: &Key,
    ) -> Result<(), LifecycleError> {
        if loaded.contains_key(key) || self.0.parts.table.peek(&key.0, &key.1).is_none() {
            return Ok(());
        }
        let problem =
            format!("model `{}:{}` was named when the gateway started, and stays while it runs", key.0, key.1);
        Err(LifecycleError::Conflict(problem))
    }
}

/// Runs the model once, so that what it does only the first time is done before anybody waits for it. What comes out does
/// not matter: inputs of ones say nothing to most models.
async fn warm_up(model: &Model) {
    let inputs = match model.tokens_max() {
        _ if model.generates() => one_token(),
        Some(_) => Tensor::from_strings([1], &["a"]).map(|text| vec![NamedTensor::new("text", text)]).ok(),
        None => ones(model.signature()),
    };
    let Some(inputs) = inputs else { return };
    let call = Call { inputs: inputs.into(), deadline: Some(Instant::now() + WARM_UP_MAX), ..Call::default() };
    match model.warm_up(call).await {
        Ok(_) | Err(NnError::InvalidInput(_)) => {}
        Err(error) => tracing::warn!(model = %model.info(), "the first run, to warm up, failed: {error}"),
    }
}

/// A prompt for a language model, of which one token is enough.
fn one_token() -> Option<Vec<NamedTensor>> {
    let texts = [("text", "a"), ("parameters", r#"{"max_tokens": 1}"#)];
    let tensors = texts.map(|(name, text)| Some(NamedTensor::new(name, Tensor::from_strings([1], &[text]).ok()?)));
    tensors.into_iter().collect()
}

/// An input of the smallest shape for each that the graph needs; `None` when that cannot be said.
fn ones(signature: &Signature) -> Option<Vec<NamedTensor>> {
    const ELEMENTS_MAX: usize = 1 << 22;
    let needed = signature.inputs.iter().filter(|input| !input.optional);
    needed
        .map(|input| {
            let extent = |dim: &Dim| match dim {
                Dim::Fixed(extent) => *extent,
                Dim::Dynamic(_) => 1,
            };
            let shape: Vec<usize> = input.dims.iter().map(extent).collect();
            let elements = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
            let elements = elements.filter(|&elements| elements <= ELEMENTS_MAX)?;
            let bytes = vec![0u8; elements.checked_mul(input.dtype.size()?)?];
            Some(NamedTensor::new(input.name.as_str(), Tensor::new(input.dtype, shape, bytes.into()).ok()?))
        })
        .collect()
}

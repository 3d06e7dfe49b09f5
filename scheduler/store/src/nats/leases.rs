//! Leases in a bucket of their own, whose records vanish by age.
//!
//! An age that belongs to the bucket counts from a record's last write, so that a renewal prolongs it; a lifetime of a single
//! record would be lost with the first renewal. The epoch is the revision of the acquisition; it cannot stand in the record
//! that it comes from, so there it is 0, and every renewal writes it.

use bytes::Bytes;

use super::records::{Last, Records};
use crate::entry::Revision;
use crate::error::StoreError;
use crate::key::Key;
use crate::store::{Epoch, Holder, Lease, Tenure};

#[derive(Clone)]
pub(super) struct LeaseRecords(pub Records);

impl LeaseRecords {
    pub async fn acquire(&self, name: &Key, holder: &Holder) -> Result<Option<Lease>, StoreError> {
        let deadline = self.0.connection.deadline();
        // Looking first is cheap; a cluster has to agree on every write, refused ones too.
        let expected = match self.0.last(name, deadline).await? {
            Some(Last { value: Some(_), .. }) => return Ok(None),
            Some(released) => released.revision,
            None => Revision(0),
        };
        match self.0.write(name, Some(written(holder, Epoch(0))), expected, deadline).await {
            Ok(revision) => {
                let (name, holder) = (name.clone(), holder.clone());
                Ok(Some(Lease { name, holder, epoch: Epoch(revision.0), revision }))
            }
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn renew(&self, lease: &Lease) -> Result<Option<Lease>, StoreError> {
        let revision = self.overwrite(lease, Some(written(&lease.holder, lease.epoch))).await?;
        Ok(revision.map(|revision| Lease { revision, ..lease.clone() }))
    }

    pub async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.overwrite(lease, None).await.map(drop)
    }

    /// Writes over our own record; none if it is not ours any more. A renewal whose answer was lost leaves it at a later
    /// revision than we know, and it is ours all the same: nobody else writes our epoch.
    async fn overwrite(&self, lease: &Lease, value: Option<Bytes>) -> Result<Option<Revision>, StoreError> {
        let deadline = self.0.connection.deadline();
        let first = self.0.write(&lease.name, value.clone(), lease.revision, deadline).await;
        let Err(StoreError::Conflict { .. }) = first else { return first.map(Some) };
        let Some(last) = self.0.last(&lease.name, deadline).await? else { return Ok(None) };
        let revision = last.revision;
        if tenure(&last).is_none_or(|tenure| tenure.epoch != lease.epoch) {
            return Ok(None);
        }
        match self.0.write(&lease.name, value, revision, deadline).await {
            Ok(revision) => Ok(Some(revision)),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn holder(&self, name: &Key) -> Result<Option<Tenure>, StoreError> {
        let Some(last) = self.0.last(name, self.0.connection.deadline()).await? else { return Ok(None) };
        if last.value.is_none() {
            return Ok(None);
        }
        tenure(&last).map(Some).ok_or_else(|| StoreError::Misconfigured {
            what: format!("the lease {name} holds what no Headland wrote"),
            remedy: "remove it with `nats kv del`, or wait for its end".into(),
        })
    }
}

fn written(holder: &Holder, epoch: Epoch) -> Bytes {
    format!("{epoch} {}", holder.as_str()).into()
}

/// Reads what [`written`] wrote; foreign bytes give nothing.
fn tenure(last: &Last) -> Option<Tenure> {
    let (epoch, holder) = std::str::from_utf8(last.value.as_deref()?).ok()?.split_once(' ')?;
    let epoch = epoch.parse().ok()?;
    let epoch = Epoch(if epoch == 0 { last.revision.0 } else { epoch });
    Some(Tenure { holder: Holder::new(holder).ok()?, epoch })
}

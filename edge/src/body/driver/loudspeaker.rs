//! The loudspeaker of a body that is reached over a link.

use std::sync::{Arc, Weak};

use super::failed;
use crate::body::hal::{Device, DeviceError, Lifecycle, Speaker};

const NAME: &str = "loudspeaker";

/// Says words over the link.
pub(crate) type Utter<L> = Box<dyn FnMut(&L, &str) -> Result<(), String> + Send>;

/// Works as long as its driver has the link open; it is not opened again by itself.
pub(crate) struct Loudspeaker<L> {
    link: Weak<L>,
    utter: Utter<L>,
}

impl<L> Loudspeaker<L> {
    /// Over that link, if it is open.
    pub(crate) fn over(link: Option<&Arc<L>>, utter: Utter<L>) -> Self {
        Self {
            link: link.map(Arc::downgrade).unwrap_or_default(),
            utter,
        }
    }
}

impl<L: Send + Sync> Device for Loudspeaker<L> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn lifecycle(&self) -> Lifecycle {
        match self.link.strong_count() {
            0 => Lifecycle::Inactive,
            _ => Lifecycle::Active,
        }
    }

    fn activate(&mut self) -> Result<(), DeviceError> {
        match self.lifecycle() {
            Lifecycle::Active => Ok(()),
            _ => Err(DeviceError::Inactive(NAME)),
        }
    }

    fn deactivate(&mut self) {
        self.link = Weak::new();
    }
}

impl<L: Send + Sync> Speaker for Loudspeaker<L> {
    fn say(&mut self, text: &str) -> Result<(), DeviceError> {
        let link = self.link.upgrade().ok_or(DeviceError::Inactive(NAME))?;
        (self.utter)(&link, text).map_err(|why| failed(NAME)(&why))
    }
}

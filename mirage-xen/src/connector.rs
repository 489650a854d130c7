//! The way from a declared device to the domain's virtual one.

use alloc::boxed::Box;
use core::fmt;

use mirage_rt::boot::{Connecting, Connector, NetworkSpec};
use mirage_rt::keys::Values;

use crate::attachment::Attachment;

/// Connects the devices of this domain.
pub(crate) struct XenConnector {
    _attachment: Attachment,
}

impl XenConnector {
    pub(crate) fn new(attachment: Attachment) -> Self {
        Self { _attachment: attachment }
    }
}

#[derive(Debug)]
struct NoVif {
    name: &'static str,
    index: u16,
}

impl fmt::Display for NoVif {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the network \"{}\" needs vif {} of the domain, which has none: add it to `vif = [...]` in its configuration",
            self.name, self.index
        )
    }
}

impl core::error::Error for NoVif {}

impl Connector for XenConnector {
    fn network<'a>(&'a self, spec: &'static NetworkSpec, _: &'a Values) -> Connecting<'a> {
        Box::pin(async { Err(NoVif { name: spec.name, index: spec.index }.into()) })
    }
}

//! What few connections have, and none most of the time.

use alloc::boxed::Box;

use super::connection::Connection;
use super::keep_alive::Asking;
use super::moment::Moment;
use super::pages::Handed;
use super::path::Path;
use super::sequence::Range;
use crate::time::Duration;

/// It is there while any of it is needed.
#[derive(Default)]
pub struct Rare {
    /// How long the peer may leave something unacknowledged, by the application's wish.
    pub user_timeout: Option<Duration>,
    /// The peer is asked whether it is there.
    pub asking: Option<Asking>,
    /// What came twice and was not told yet (RFC 2883).
    pub duplicate: Option<Range>,
    /// When the last acknowledgement left that answered a segment without news.
    pub answered: Moment,
    /// What is known of the way to the peer.
    pub path: Path,
    /// Pages that the application has given to be sent.
    pub given: Option<Handed>,
    /// Pages that have come and that it will take.
    pub taking: Option<Handed>,
}

impl Rare {
    /// Whether the usual way is not good enough.
    fn is_amiss(&self) -> bool {
        self.duplicate.is_some()
    }

    fn is_needed(&self) -> bool {
        let has_given = self.given.as_ref().is_some_and(|given| given.count > 0);
        self.is_amiss()
            || self.user_timeout.is_some()
            || self.asking.is_some()
            || !self.path.is_whole()
            || has_given
            || self.taking.is_some()
    }
}

impl Connection {
    /// All of it, from now on.
    #[cold]
    #[inline(never)]
    pub fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(Box::default)
    }

    /// Whether any of it is in the way of the usual.
    #[inline]
    pub fn is_rare(&self) -> bool {
        self.rare.as_deref().is_some_and(Rare::is_amiss)
    }

    /// Forgets it when none of it is needed.
    pub fn rest_rare(&mut self) {
        if self.rare.as_deref().is_some_and(|rare| !rare.is_needed()) {
            self.rare = None;
        }
    }
}

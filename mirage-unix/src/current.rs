//! Where the current runtime is kept: one for each thread.

use std::cell::RefCell;

use mirage_rt::Runtime;
use mirage_rt::platform::{Hooks, Look, install};

thread_local! {
    static CURRENT: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

/// Tells mirage-rt to look here. More than once is fine.
pub(crate) fn install_hooks() {
    install(Hooks { with, set });
}

fn with(act: Look<'_>) {
    // While the thread ends there is no current runtime any more.
    let _ = CURRENT.try_with(|current| current.borrow().as_ref().map(act));
}

fn set(runtime: Option<Runtime>) -> Option<Runtime> {
    CURRENT.try_with(|current| current.replace(runtime)).ok().flatten()
}

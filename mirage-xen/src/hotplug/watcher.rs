//! The task that follows which devices there are.

use alloc::rc::Weak;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::Poll;

use mirage_rt::hotplug::{DeviceId, DeviceKind, MOST};
use mirage_rt::time::{Duration, sleep};

use super::{PAUSE, Shared, class};
use crate::attachment::Attachment;
use crate::warning::{failed, warn};
use crate::xenbus::{BackendWatch, Frontend, State, XenbusError};
use crate::xenstore::{Watch, Xenstore, XenstoreError};

/// How long to wait for the next look when one failed.
const RETRY: Duration = Duration::from_secs(1);

/// A device without a driver, and what its backend does.
struct Idle {
    id: DeviceId,
    frontend: Frontend,
    watch: BackendWatch,
}

/// Follows the devices until there is nobody to tell.
pub(super) async fn follow(shared: Weak<Shared>, attachment: Attachment) {
    let store = attachment.xenstore().clone();
    // It is set with the first wait, and tells then of what has come since the first look.
    let mut watch = Some(store.start_watch("device"));
    let mut refused = false;
    let mut idle: Vec<Idle> = Vec::new();
    let mut generation = attachment.generation();
    loop {
        // What it tells of is seen by the next lines.
        match &mut watch {
            Some(watch) => watch.clear(),
            None if !refused => watch = Some(store.start_watch("device")),
            None => {}
        }
        if attachment.generation() != generation {
            // Another domain, whose backends are elsewhere.
            generation = attachment.generation();
            idle.clear();
        }
        match look(&store, &shared, &mut idle).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(XenstoreError::Lost) => {
                return failed(format_args!("devices that come and go are not followed any more"));
            }
            // It was resumed in the meantime.
            Err(XenstoreError::Interrupted) => continue,
            Err(error) => {
                warn(format_args!("devices that come and go: {error}"));
                sleep(RETRY).await;
                continue;
            }
        }
        sleep(PAUSE).await;
        if !change(&shared, &mut watch, &mut refused, &mut idle).await {
            return;
        }
    }
}

/// Looks at everything once; `false` when nobody wants to know.
async fn look(store: &Xenstore, shared: &Weak<Shared>, idle: &mut Vec<Idle>) -> Result<bool, XenstoreError> {
    let present = list(store).await?;
    let Some(without_driver) = update(shared, present) else { return Ok(false) };
    attend(store, idle, &without_driver).await?;
    Ok(true)
}

/// All devices of the domain, in order.
async fn list(store: &Xenstore) -> Result<Vec<DeviceId>, XenstoreError> {
    let mut devices = Vec::new();
    for kind in [DeviceKind::Network, DeviceKind::Block] {
        let Some(class) = class(kind) else { continue };
        let numbers = Frontend::list(store, class).await?;
        devices.extend(numbers.into_iter().map(|number| DeviceId { kind, number }));
    }
    Ok(devices)
}

/// Takes over which devices there are; those that nobody has opened. `None` when nobody wants to know.
fn update(shared: &Weak<Shared>, present: Vec<DeviceId>) -> Option<Vec<DeviceId>> {
    let shared = shared.upgrade()?;
    let mut state = shared.state.borrow_mut();
    if state.ended {
        return None;
    }
    let mut devices: Vec<_> = present.into_iter().filter(|id| !shared.declared.contains(id)).collect();
    devices.dedup();
    if devices.len() > MOST {
        warn(format_args!("the domain has {} undeclared devices: those beyond {MOST} are not told of", devices.len()));
        devices.truncate(MOST);
    }
    // The first look counts as a change even if there is nothing: whoever waits for the first list gets it.
    if state.devices != devices || state.version == 0 {
        state.devices = devices;
        state.version += 1;
    }
    let without_driver = state.devices.iter().filter(|id| !state.open.contains(id)).copied().collect();
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
    Some(without_driver)
}

/// Does what a driver would for devices that have none: lets go of a backend that closes.
async fn attend(store: &Xenstore, idle: &mut Vec<Idle>, devices: &[DeviceId]) -> Result<(), XenstoreError> {
    idle.retain(|idle| devices.contains(&idle.id));
    for id in devices {
        if idle.iter().any(|idle| idle.id == *id) {
            continue;
        }
        match Idle::new(store, *id).await {
            Ok(new) => idle.extend(new),
            // Nonsense where its backend should be, or more watches than the domain may have: it closes without our help.
            Err(XenstoreError::Refused { .. } | XenstoreError::Path(_)) => {}
            Err(error) => return Err(error),
        }
    }
    for Idle { frontend, .. } in idle.iter() {
        if let State::Closing | State::Closed = frontend.backend_state().await? {
            match frontend.set_state(State::Closed, &[]).await {
                // It is gone already, or not ours to write.
                Ok(()) | Err(XenstoreError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

impl Idle {
    /// `None` when the device is gone again.
    async fn new(store: &Xenstore, id: DeviceId) -> Result<Option<Idle>, XenstoreError> {
        let Some(class) = class(id.kind) else { return Ok(None) };
        let frontend = match Frontend::find(store, class, id.number, &[]).await {
            Ok((frontend, _)) => frontend,
            Err(XenbusError::Xenstore(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        let watch = frontend.watch_backend().await?;
        Ok(Some(Idle { id, frontend, watch }))
    }
}

/// Waits until something may have changed; `false` when nobody wants to know any more.
async fn change(shared: &Weak<Shared>, watch: &mut Option<Watch>, refused: &mut bool, idle: &mut [Idle]) -> bool {
    poll_fn(|context| {
        let Some(shared) = shared.upgrade() else { return Poll::Ready(false) };
        let mut state = shared.state.borrow_mut();
        if state.ended {
            return Poll::Ready(false);
        }
        let mut changed = core::mem::take(&mut state.moved);
        state.watcher = Some(context.waker().clone());
        drop(state);
        match watch.as_mut().map(|watch| watch.poll_next(context)) {
            Some(Poll::Ready(Err(error))) => {
                // It is set anew after a resume.
                *refused = error != XenstoreError::Interrupted;
                if *refused {
                    failed(format_args!("devices that come are not noticed: {error}"));
                }
                *watch = None;
                changed = true;
            }
            Some(Poll::Ready(Ok(_))) => changed = true,
            Some(Poll::Pending) | None => {}
        }
        for idle in idle.iter_mut() {
            changed |= idle.watch.poll_change(context).is_ready();
        }
        if changed { Poll::Ready(true) } else { Poll::Pending }
    })
    .await
}

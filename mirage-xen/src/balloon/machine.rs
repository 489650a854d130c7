//! The balloon of the machine we run on.

use mirage_rt::boot::Connectors;

use super::{Block, Ground, follow, start};
use crate::abi;
use crate::attachment::Attachment;
use crate::hypercall::operate;
use crate::hypervisor::DOMAIN_SELF;
use crate::memory::machine::Memory;
use crate::single::Single;

/// The attachment of a program that has a balloon.
static ATTACHMENT: Single<Attachment> = Single::empty();

/// Gives a program its balloon, which [`inflate`] then fills. A program that declares none is linked without this.
pub fn connect(attachment: &Attachment, _: &mut Connectors) {
    if Memory::machine().is_some() && ATTACHMENT.get().is_none() {
        // SAFETY: a machine that has booted has one thread; nothing was set before.
        unsafe { ATTACHMENT.set(attachment.clone()) };
    }
}

/// Gives back what the toolstack wants the domain not to have, and goes on doing so in a task. Called before the program's main.
///
/// # Errors
///
/// What xenstore says.
pub async fn inflate() -> mirage_rt::Result {
    if let (Some(memory), Some(attachment)) = (Memory::machine(), ATTACHMENT.get()) {
        let store = attachment.xenstore().clone();
        let balloon = start(&store, Machine(memory)).await?;
        mirage_rt::spawn(follow(store, balloon));
    }
    Ok(())
}

/// The memory of the machine.
struct Machine(&'static Memory);

/// Calls Xen with the frames of blocks, which are alike; how many were done.
///
/// # Safety
///
/// As the operation asks: the frames are free and not mapped.
unsafe fn reserve(name: &'static str, operation: u32, blocks: &[Block]) -> usize {
    let Some(order) = blocks.first().map(|block| block.order) else { return 0 };
    let mut frames = [0; super::BATCH];
    let mut count = 0;
    for (place, block) in frames.iter_mut().zip(blocks) {
        *place = block.frame;
        count += 1;
    }
    let mut request = abi::xen_memory_reservation {
        extent_start: abi::__guest_handle_xen_pfn_t { p: frames.as_mut_ptr() },
        nr_extents: count,
        extent_order: order as u32,
        mem_flags: 0,
        domid: DOMAIN_SELF.0,
    };
    // SAFETY: promised by the caller; the frames' numbers live until the call returns.
    let done = unsafe { operate(name, abi::__HYPERVISOR_memory_op, operation, &mut request) };
    done.map_or(0, |done| done.min(count) as usize)
}

impl Ground for Machine {
    fn free_frames(&self) -> usize {
        self.0.free_frames()
    }

    fn available(&self) -> usize {
        self.0.available()
    }

    fn total_frames(&self) -> usize {
        self.0.total_frames()
    }

    fn take(&self, order: usize) -> Option<Block> {
        self.0.take_unmapped(order).map(|frame| Block { frame: frame as u64, order })
    }

    fn put(&self, block: Block) {
        // SAFETY: blocks come from `take`, one at a time, and have memory behind them: Xen did not take it or gave it again.
        unsafe { self.0.put_mapped(block.frame as usize, block.order) };
    }

    fn release(&self, blocks: &[Block]) -> usize {
        // SAFETY: blocks come from `take`: nobody has them, and they are not mapped.
        unsafe { reserve("XENMEM_decrease_reservation", abi::XENMEM_decrease_reservation, blocks) }
    }

    fn populate(&self, blocks: &[Block]) -> usize {
        // SAFETY: as in `release`; there is nothing behind them now.
        unsafe { reserve("XENMEM_populate_physmap", abi::XENMEM_populate_physmap, blocks) }
    }

    fn holds(&self, frames: usize) {
        self.0.set_ballooned(frames);
    }
}

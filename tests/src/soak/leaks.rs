//! What dom0 and the hypervisor hold, so that it can be compared after everything is gone.

use std::collections::BTreeMap;
use std::error::Error;

use mirage_lab::Lab;

/// Things that dom0 and the hypervisor hold, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings(BTreeMap<String, i64>);

/// What may differ by so much: the hypervisor keeps a few pages of what it gave back, and xenstored of what it had.
const TOLERANCE_MIB: i64 = 1;

/// One `name number` a line. The hypervisor prints its tables into its log.
const COUNT: &str = "
asked() { xl dmesg -c >/dev/null; xl debug-keys $1; usleep 200000; xl dmesg; }
echo 'domains' $(($(xl list | wc -l) - 1))
echo 'xenstore nodes' $(xenstore-ls / | wc -l)
echo 'loop devices' $(losetup -a | wc -l)
echo 'event channels of dom0' $(asked e | awk '/for domain/ { own = / 0:/ } own && / s=[1-9]/ { n++ } END { print n + 0 }')
echo 'grants' $(asked g | grep -c '^(XEN) \\[0x')
echo 'interfaces' $(ls /sys/class/net | wc -l)
echo 'backend devices' $(ls /sys/bus/xen-backend/devices | wc -l)
echo 'MiB free in Xen' $(xl info free_memory)
";

impl Holdings {
    /// Counts them now.
    pub fn count(lab: &Lab) -> Result<Holdings, Box<dyn Error>> {
        let printed = lab.dom0_checked(COUNT)?;
        let line = |line: &str| {
            let (name, number) = line.rsplit_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        };
        let counted: BTreeMap<String, i64> = printed.lines().filter_map(line).collect();
        match counted.len() {
            8 => Ok(Holdings(counted)),
            _ => Err(format!("dom0 can't be counted: {printed}").into()),
        }
    }

    /// What is held after all that there was not before, in words; nothing if nothing leaked.
    pub fn leaks(&self, after: &Holdings) -> Vec<String> {
        let differs = |(name, before): (&String, &i64)| {
            let now = after.0.get(name).copied().unwrap_or(0);
            let leaked = if name.contains("MiB") { before - now > TOLERANCE_MIB } else { now > *before };
            leaked.then(|| format!("{name}: {before} before, {now} after"))
        };
        self.0.iter().filter_map(differs).collect()
    }
}

/// All of them, for the table.
impl std::fmt::Display for Holdings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, number)) in self.0.iter().enumerate() {
            write!(f, "{}{number} {name}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

//! The Linux domU that benchmarks compare with: making it, and running scripts in it.

use crate::domain::DomainBuilder;
use crate::error::CommandError;
use crate::lab::{Lab, quote};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Where its `/init` runs what it is sent.
const PORT: u16 = 7000;
/// What follows the output of a script: its status.
const STATUS: &str = "mirage-lab: status ";

impl Lab {
    /// A Linux domU at this address (of 10.0.2.0/24): dom0's kernel, 256 MiB, one processor, nginx on port 80, iperf3's
    /// server, `disk-load` (`DEVICE read|write|randread|randwrite BYTES DEPTH SECONDS`), and a port that
    /// [`linux_run`](Self::linux_run) uses.
    pub fn linux(&self, address: Ipv4Addr) -> DomainBuilder {
        let words = format!("quiet lab.ipv4={address}/24 lab.gateway=10.0.2.2");
        self.domain(self.linux_kernel()).ramdisk(self.linux_ramdisk()).memory(256).vif().cmdline(&words)
    }

    /// Runs a shell script in the Linux domU at this address and gives what it printed. It is tried for as long as the domU
    /// is not up yet.
    ///
    /// # Errors
    ///
    /// If the lab is gone, the domU does not answer within the limit, or the script's status is not 0.
    pub fn linux_run(&self, address: Ipv4Addr, script: &str, limit: Duration) -> Result<String, CommandError> {
        let whole = format!("(\n{script}\n) 2>&1\necho '{STATUS}'$?\n");
        let seconds = limit.as_secs().max(1);
        // nc ends with the connection; a port that refuses, or a guest that is not there yet, is asked again.
        let asked = format!(
            "end=$(( $(cut -d. -f1 /proc/uptime) + {seconds} ))
             until printf %s {script} | nc -w 2 {address} {PORT}; do
                 [ $(cut -d. -f1 /proc/uptime) -lt $end ] || exit 1
                 usleep 100000
             done 2>/dev/null",
            script = quote(&whole)
        );
        let printed = self.dom0_within(&asked, limit + Duration::from_secs(5))?.checked(script)?;
        let (output, status) = printed.rsplit_once(STATUS).unwrap_or((&printed, "1"));
        match status.trim().parse() {
            Ok(0) => Ok(output.to_owned()),
            status => Err(CommandError::Status {
                script: script.to_owned(),
                status: status.unwrap_or(1),
                said: output.trim().to_owned(),
            }),
        }
    }
}

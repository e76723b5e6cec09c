//! Many subscribers in several processes, seen from the process that measures. The other side is `child`.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::child::Plan;
use crate::tally::Tally;

/// The processes.
pub struct Swarm {
    members: Vec<Member>,
    count: usize,
}

struct Member {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Swarm {
    /// Starts subscribers as planned; `wrap` is a command to run the processes under, such as `nice`.
    pub fn start(plan: &Plan, wrap: &[&str]) -> io::Result<Swarm> {
        let mut members = Vec::new();
        let (mut left, mut source) = (plan.count, plan.source);
        while left > 0 {
            let count = left.min(plan.per_process);
            members.push(Member::start(&Plan { count, source, ..plan.clone() }, wrap)?);
            left -= count;
            source += 1;
        }
        Ok(Swarm { members, count: plan.count })
    }

    /// Starts them and waits until all are in.
    pub fn open(plan: &Plan, wrap: &[&str], patience: Duration) -> io::Result<Swarm> {
        let mut swarm = Swarm::start(plan, wrap)?;
        let start = Instant::now();
        loop {
            let tally = swarm.report()?;
            if tally.open as usize >= swarm.count {
                return Ok(swarm);
            }
            if start.elapsed() > patience {
                let Tally { open, failed, refused, .. } = tally;
                let text = format!("{open} of {} open, {failed} failed, {refused} refused", swarm.count);
                return Err(io::Error::other(text));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The sum of all counts.
    pub fn report(&mut self) -> io::Result<Tally> {
        let mut sum = Tally::default();
        for answer in self.ask("report")? {
            sum.add(Tally::from_text(&answer).ok_or_else(|| io::Error::other("a subscriber process broke"))?);
        }
        Ok(sum)
    }

    /// Starts counting anew.
    pub fn reset(&mut self) -> io::Result<()> {
        self.ask("reset").map(drop)
    }

    /// Lets the first `count` subscribers of the first process stop reading.
    pub fn stall(&mut self, count: usize) -> io::Result<()> {
        self.members[0].send(&format!("stall {count}"))?;
        self.members[0].receive().map(drop)
    }

    /// How many of those that read have not seen a publisher's event of this number.
    pub fn behind(&mut self, publisher: usize, number: u64) -> io::Result<u64> {
        let answers = self.ask(&format!("behind {publisher} {number}"))?;
        Ok(answers.iter().filter_map(|answer| answer.parse::<u64>().ok()).sum())
    }

    /// Lets its processes run only when nobody else wants the processor.
    pub fn give_way(&self) -> io::Result<()> {
        for member in &self.members {
            let pid = member.process.id().to_string();
            let moved = Command::new("chrt").args(["--all-tasks", "--idle", "--pid", "0", &pid]).status()?;
            if !moved.success() {
                return Err(io::Error::other("chrt cannot give subscribers idle priority"));
            }
        }
        Ok(())
    }

    /// Waits until all have seen that number or patience ends; how many have not.
    pub fn await_event(&mut self, publisher: usize, number: u64, patience: Duration) -> io::Result<u64> {
        let start = Instant::now();
        loop {
            let behind = self.behind(publisher, number)?;
            if behind == 0 || start.elapsed() > patience {
                return Ok(behind);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask(&mut self, order: &str) -> io::Result<Vec<String>> {
        for member in &mut self.members {
            member.send(order)?;
        }
        self.members.iter_mut().map(Member::receive).collect()
    }
}

impl Member {
    fn start(plan: &Plan, wrap: &[&str]) -> io::Result<Member> {
        let own = std::env::current_exe()?;
        let mut command = match wrap {
            [] => Command::new(own),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(own);
                command
            }
        };
        command.arg("subscribers").args(plan.to_arguments());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (orders, answers) = pipes.ok_or_else(|| io::Error::other("no pipes"))?;
        Ok(Member { process, orders, answers: BufReader::new(answers) })
    }

    fn send(&mut self, order: &str) -> io::Result<()> {
        writeln!(self.orders, "{order}")?;
        self.orders.flush()
    }

    fn receive(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a subscriber process ended"));
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

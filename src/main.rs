//! The program: everything is in the library, `cli` first.

fn main() -> std::process::ExitCode {
    fanwheel::cli::main()
}

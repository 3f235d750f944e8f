package commit

// Wait waits for what goes on in the background to end by itself.
func (p *Publisher) Wait() { p.journal.work.Wait() }

package engine

import "sync"

// pool runs jobs in the order they come, so many at a time; goroutines are there
// only while there are jobs. It is safe for concurrent use.
type pool struct {
	most int
	all  *sync.WaitGroup // of its goroutines

	mu      sync.Mutex
	running int
	waiting []func()
}

// run has a job done, now or when it is its turn. Jobs end when their engine stops;
// until then none is dropped.
func (p *pool) run(job func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, job)
	if p.running < p.most {
		p.running++
		p.all.Go(p.loop)
	}
}

func (p *pool) loop() {
	for {
		job := p.next()
		if job == nil {
			return
		}
		job()
	}
}

// next gives a job; nil when there is none, and its goroutine is to end.
func (p *pool) next() func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.running--
		p.waiting = nil
		return nil
	}
	job := p.waiting[0]
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	return job
}

package instance

import (
	"errors"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// prepare reads the model, publishes it and makes a worker for it, not started
// yet. Faults of the whole app are an error.
func (r *runner) prepare() (*Model, worker.Worker, error) {
	model, err := r.cfg.Load()
	if err != nil {
		return nil, nil, err
	}
	r.model.Store(model)
	r.watch.follow(model.App)
	if r.cfg.OnModel != nil {
		r.cfg.OnModel(model)
	}
	if len(model.App.Faults) > 0 {
		return nil, nil, problem.Wrap(problem.Invalid, "the app cannot be started", faulty(model.App.Faults))
	}
	wk, err := r.cfg.NewWorker(model)
	return model, wk, err
}

// faulty are the faults that keep a whole app from starting.
type faulty []funcapp.Fault

func (f faulty) Error() string {
	errs := make([]error, len(f))
	for n, fault := range f {
		errs[n] = errors.New(fault.String())
	}
	return errors.Join(errs...).Error()
}

// faultTexts gives each fault of the app that err is about; nil if it is about
// something else.
func faultTexts(err error) []string {
	var faults faulty
	if !errors.As(err, &faults) {
		return nil
	}
	texts := make([]string, len(faults))
	for n, fault := range faults {
		texts[n] = fault.String()
	}
	return texts
}

package manage

import (
	"context"
	"net/http"
	"time"
)

// DrillFaults are the parts of an installation that fail on purpose.
type DrillFaults struct {
	Vault string `json:"vault"` // "error", "deny" or ""
	Token bool   `json:"token"`
	Slow  string `json:"slow"` // such as "2s"
}

// Clock is an installation's clock and what else a drill changed.
type Clock struct {
	Drill  bool        `json:"drill"`
	Now    time.Time   `json:"now"`
	System time.Time   `json:"system"`
	Ahead  string      `json:"ahead"`
	Faults DrillFaults `json:"faults"`
}

// Clock reads the clock.
func (i *Installation) Clock(ctx context.Context) (c Clock, err error) {
	err = i.get(ctx, platformPath+"/clock", &c)
	return c, err
}

// AdvanceClock moves the clock ahead; problem.Conflict outside of drill mode.
func (i *Installation) AdvanceClock(ctx context.Context, by time.Duration) (c Clock, err error) {
	err = i.post(ctx, platformPath+"/clock/advance", map[string]string{"by": by.String()}, &c)
	return c, err
}

// ResetClock sets the clock to the system's.
func (i *Installation) ResetClock(ctx context.Context) (c Clock, err error) {
	err = i.post(ctx, platformPath+"/clock/reset", nil, &c)
	return c, err
}

// SetFaults makes parts fail, and all others work.
func (i *Installation) SetFaults(ctx context.Context, f DrillFaults) (c Clock, err error) {
	err = i.client.Do(ctx, http.MethodPut, platformPath+"/faults", f, &c)
	return c, err
}

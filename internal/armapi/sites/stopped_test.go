package sites_test

import (
	"context"
	"errors"
	"testing"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/sites"
)

// TestTheQuirkFailsTheReadOfLogsAlone: clients stop at exactly this body.
func TestTheQuirkFailsTheReadOfLogsAlone(t *testing.T) {
	var fails bool
	var fault error
	f := newFixture(t, func(c *sites.Config) {
		c.StoppedQuirk = func(_ context.Context, a app.App) (bool, error) { return fails && a.Name == "orders", fault }
	})
	f.create()
	f.want(200, "GET", siteAt+"/config/logs", "")
	fails = true
	const body = `{"Code":"InternalServerError","Message":null,"Target":null,"Details":[{"Message":null},{"Code":"InternalServerError"},` +
		`{"ErrorEntity":{"Code":"InternalServerError","Message":null}}],"Innererror":null}`
	if got := f.want(500, "GET", siteAt+"/config/logs", "").Body.String(); got != body {
		t.Errorf("the answer is %s", got)
	}
	f.want(200, "GET", siteAt+"/config/web", "")
	f.want(200, "GET", siteAt+"/config/slotConfigNames", "")
	f.want(200, "PUT", siteAt+"/config/logs", `{"properties":{"detailedErrorMessages":{"enabled":true}}}`)
	fails, fault = false, errors.New("the state cannot be read")
	f.want(500, "GET", siteAt+"/config/logs", "")
	fault = nil
	f.want(200, "GET", siteAt+"/config/logs", "")
}

package sites

import (
	"net/http"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
)

// contentShareLost is what the platform answers when it needs an app's content
// share to read the configuration of its logs, and the share's connection string
// is a reference that the stopped app may no longer read (arm §7).
const contentShareLost = `{"Code":"InternalServerError","Message":null,"Target":null,"Details":[{"Message":null},` +
	`{"Code":"InternalServerError"},{"ErrorEntity":{"Code":"InternalServerError","Message":null}}],"Innererror":null}`

// unlessStopped makes a read fail as on the platform while the quirk asks for it.
func (api *API) unlessStopped(read siteHandler) siteHandler {
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		if api.StoppedQuirk != nil {
			if fails, err := api.StoppedQuirk(c.Context(), a); err != nil || fails {
				return arm.Reply{Status: http.StatusInternalServerError, Raw: []byte(contentShareLost), RawType: "application/json"}, err
			}
		}
		return read(c, a)
	}
}

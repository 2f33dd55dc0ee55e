package manage

import (
	"context"
	"net/http"
	"time"
)

// PortalLink signs in to the portal once.
type PortalLink struct {
	URL     string    `json:"url"` // a secret
	Expires time.Time `json:"expires"`
}

// PortalLink gets a link that signs in whoever the installation is used as.
func (i *Installation) PortalLink(ctx context.Context) (link PortalLink, err error) {
	err = i.client.Do(ctx, http.MethodPost, "/providers/Latchkey.Platform/portal/signInLink", nil, &link)
	return link, err
}
